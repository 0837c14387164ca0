"""The locks of a sweep's folder: of its start, and of each trial. The kernel ends them however the process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from ppema.checkpoint.durable import open_own
from ppema.checkpoint.lock import is_at
from ppema.errors import SetupError

LOCKS = "locks"


class TrialLock:
    """A held lock of the sweep in `folder`.

    A process that inherits `handle` holds the lock too. A trial's training does, so that no other process claims the trial
    before it has ended.
    """

    def __init__(self, path: Path, handle: int):
        self._path = path
        self.handle = handle

    @classmethod
    def now(cls, folder: Path, name: str) -> TrialLock | None:
        """The lock `name`, or None if another process holds it. Raises SetupError if it can not be had."""
        path = folder / LOCKS / name
        try:
            return cls._now(path)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise SetupError(f"{folder}: this file system has no locks, which a sweep requires") from error
            raise SetupError(f"{path}: the sweep's lock can not be taken: {error.strerror}") from error

    @classmethod
    def _now(cls, path: Path) -> TrialLock | None:
        while True:
            try:
                handle = open_own(path, os.O_RDWR)
            except FileNotFoundError:
                # The last process of the sweep removed the folder of its locks.
                path.parent.mkdir(exist_ok=True)
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_at(path, handle):
                    return cls(path, handle)
            except BlockingIOError:
                os.close(handle)
                return None
            except OSError:
                os.close(handle)
                raise
            # The former holder removed the file since it was opened.
            os.close(handle)

    @classmethod
    def wait(cls, folder: Path, name: str) -> TrialLock:
        """The lock `name`, once no other process holds it. Raises as `now`."""
        while (lock := cls.now(folder, name)) is None:
            time.sleep(0.02)
        return lock

    def __enter__(self) -> TrialLock:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the lock up, and remove its file. Later calls do nothing."""
        if self.handle >= 0:
            # A file that stays is no lock, once its handles are closed.
            with suppress(OSError):
                self._path.unlink()
            os.close(self.handle)
            self.handle = -1
