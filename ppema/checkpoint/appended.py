"""A file that grows by whole pieces, such as lines: however a write fails, no half piece stays, and none is lost."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ppema.checkpoint.durable import open_own


class AppendedFile:
    """A file to append to. What could not be written is kept, and written before what comes next. Close it after use."""

    def __init__(self, path: Path):
        """Go on at the end of the file, which is made where it is missing. Raises OSError, for a link too."""
        # A pipe of that name is an error, and not a wait for who may read it.
        self._handle = open_own(path, os.O_WRONLY | os.O_NONBLOCK)
        self._end = os.fstat(self._handle).st_size
        self._pending = b""

    def append(self, piece: bytes) -> None:
        """Raises OSError where it can not be written now."""
        self._pending += piece
        left = memoryview(self._pending)
        end = self._end
        try:
            while left:
                written = os.pwrite(self._handle, left, end)
                left, end = left[written:], end + written
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._handle, self._end)
            raise
        self._pending, self._end = b"", end

    def write(self, piece: bytes) -> None:
        """`append`, for those who take any file to write to."""
        self.append(piece)

    def close(self) -> None:
        os.close(self._handle)
