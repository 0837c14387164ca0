"""Finds and opens the files that a config names."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import BinaryIO, cast

from ppema.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"


class MissingError(DataError):
    """A file or folder is missing, or is a folder instead of a file, or the reverse.

    path: as the user wrote it; fault: what is wrong; hint: what to do, "" for nothing.
    """

    def __init__(self, path: str, fault: str, hint: str = ""):
        self.path, self.fault, self.hint = path, fault, f"; {hint}" if hint else ""
        super().__init__(f"{path}: {fault}{self.hint}")

    def at_key(self) -> str:
        """The message for the config key that holds the path. It shows the absolute path."""
        return f"{self.fault}: {Path(self.path).expanduser().absolute()}{self.hint}"


def existing_file(path: str, hint: str = "") -> Path:
    """`path` with ~ expanded. Raises MissingError, which ends with `hint`, if it is not a regular file."""
    found = Path(path).expanduser()
    if found.is_file():
        return found
    fault = "is a folder, not a file" if found.is_dir() else "no such file"
    raise MissingError(path, fault, hint)


def open_binary(path: Path) -> BinaryIO:
    """Open `path` for reading bytes. A gzip file, recognized by its first bytes, is unpacked. Raises OSError."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")
