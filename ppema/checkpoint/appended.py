"""A file that grows by whole pieces, such as lines: after a failed write it holds no partial piece, and no piece is lost."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ppema.checkpoint.durable import open_own


class AppendedFile:
    """A file for appending. A piece that could not be written is kept, and written before the next one. Close it after use."""

    def __init__(self, path: Path):
        """Open the file at its end; a missing file is created. Raises OSError, also for a link."""
        # With O_NONBLOCK, a pipe of that name is an error instead of a wait for its reader.
        self._handle = open_own(path, os.O_WRONLY | os.O_NONBLOCK)
        self._end = os.fstat(self._handle).st_size
        self._pending = b""

    def append(self, piece: bytes) -> None:
        """Append `piece`, after those that failed before. Raises OSError if they can not be written now."""
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
        """`append`, for callers that write to any file object."""
        self.append(piece)

    def close(self) -> None:
        os.close(self._handle)
