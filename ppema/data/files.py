"""Finding and opening the files that a config names."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import BinaryIO, cast

from ppema.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"


def existing_file(path: str, hint: str = "") -> Path:
    """`path` with ~ expanded; DataError, ending with `hint`, where it is no regular file."""
    found = Path(path).expanduser()
    if found.is_file():
        return found
    fault = "is a folder, not a file" if found.is_dir() else "no such file"
    raise DataError(f"{path}: {fault}{'; ' * bool(hint)}{hint}")


def open_binary(path: Path) -> BinaryIO:
    """The bytes of `path`, unpacked where they begin as gzip does, whatever the file's name. Raises OSError."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")
