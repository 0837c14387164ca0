"""Durable writes: after a function here returns, its data survives the end of the process and a power cut."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

Buffer = Any  # an object with the buffer protocol: bytes, a contiguous numpy array


class NewFile:
    """A new file, to write and then to sync. As a context manager it closes the file. All methods raise OSError."""

    def __init__(self, path: Path):
        """Create the file. Raises OSError, also if it exists."""
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
        """Wait until the content is on the disk."""
        os.fsync(self._handle)


def open_own(path: Path, flags: int) -> int:
    """A handle on a file of a run's folder; a missing file is created. Raises OSError, also for a link."""
    try:
        return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "it is a link, which a run does not write through: remove it", str(path)) from error


def write_file(path: Path, *contents: Buffer) -> None:
    """Write a new file of `contents`, one after the other. Its name is durable after `sync_folder`. Raises OSError."""
    with NewFile(path) as file:
        for content in contents:
            file.write(content)
        file.sync()


def replace_file(path: Path, *contents: Buffer) -> None:
    """Replace the file `path` by one of `contents`, atomically and durably.

    Raises OSError. The file is then unchanged, or already replaced if only the sync of its folder failed.
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
    """Make created, renamed and removed entries of `folder` durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
