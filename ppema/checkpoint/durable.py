"""Writing so that it lasts: when a function here returns, what it wrote outlives the process and a power cut."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

Buffer = Any  # whatever has the buffer protocol: bytes, a contiguous numpy array


class NewFile:
    """A file that did not exist, to be written and then made to last. A context manager, which closes it."""

    def __init__(self, path: Path):
        """Raises OSError, as all methods do."""
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._handle)

    def write(self, content: Buffer) -> None:
        """Append all of `content`."""
        left = memoryview(content)
        left = left.cast("B") if left.nbytes else left[:0]
        while left:
            left = left[os.write(self._handle, left) :]

    def sync(self) -> None:
        """Wait until the disk has it."""
        os.fsync(self._handle)


def open_own(path: Path, flags: int) -> int:
    """A handle on a file of a run's folder, made where it is missing. Raises OSError, for a link too."""
    try:
        return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "it is a link, which a run does not write through: remove it", str(path)) from error


def write_file(path: Path, *contents: Buffer) -> None:
    """Write a new file of `contents`, one after the other. Raises OSError; its name lasts once `sync_folder` was called."""
    with NewFile(path) as file:
        for content in contents:
            file.write(content)
        file.sync()


def replace_file(path: Path, *contents: Buffer) -> None:
    """Replace the file `path` by one of `contents`, at once and for good.

    Raises OSError; the file is then what it was, or, where only the folder could not be synced, already the new one.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with suppress(FileNotFoundError):
            partial.unlink()
        write_file(partial, *contents)
        os.replace(partial, path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed and removed in `folder` last. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
