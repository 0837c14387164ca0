"""The lock of Optuna's journal file, in place of Optuna's own, which waits 30 seconds after its holder was killed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_CHUNK = 4096


class JournalLock:
    """The kernel's lock on a file beside the journal, which ends with its holder, for `JournalFileBackend(lock_obj=...)`.

    A killed writer, or a full disk, leaves a line without its end. Optuna would append the next line to it, and could then read
    neither. `acquire` removes such a line, whose writer never learned that it was written.
    """

    def __init__(self, journal: Path):
        self._journal = journal
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock, and repair the journal. Raises OSError."""
        handle = os.open(f"{self._journal}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._repair()
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        """Give the lock up."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _repair(self) -> None:
        """Cut the journal after its last line end."""
        with open(self._journal, "rb+") as file:
            size = end = file.seek(0, os.SEEK_END)
            while end:
                begin = max(0, end - _CHUNK)
                file.seek(begin)
                found = file.read(end - begin).rfind(b"\n")
                if found >= 0:
                    end = begin + found + 1
                    break
                end = begin
            if end < size:
                file.truncate(end)
