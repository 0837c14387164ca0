"""The lock of a run's folder, in which one process at a time trains."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ppema.checkpoint.durable import open_own, sync_folder
from ppema.errors import CheckpointError, SetupError, TrainingError

_NAME = "lock"
_OWNER = re.compile(r"process (\d+) on (.*), since ")


class Lock:
    """The lock of the run in `output`, held by this process."""

    def __init__(self, output: Path, handle: int):
        self._output = output
        self._handle = handle

    def check(self) -> None:
        """Raise TrainingError if the run's folder was removed or replaced since it was locked."""
        if not is_at(self._output / _NAME, self._handle):
            raise TrainingError(f"{self._output}: the run's folder was removed or replaced while the run went on; the run ends")


@contextmanager
def locked(output: Path) -> Iterator[Lock]:
    """Hold the lock of the run in `output`. A missing folder is created, and removed with the lock if it is still empty.

    The lock is the kernel's on the file `lock`, whose content names the holder. The kernel releases it however the process
    ends. Raises CheckpointError if another process holds it, and SetupError if the folder can not be written.
    """
    path = output / _NAME
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        for folder in made:
            sync_folder(folder.parent)
        handle = _acquired(path)
    except OSError as error:
        raise SetupError(f"{output}: the run's folder can not be written: {error}") from error
    try:
        yield Lock(output, handle)
    finally:
        if is_at(path, handle):
            path.unlink(missing_ok=True)
        os.close(handle)
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def holder(output: Path) -> str | None:
    """The process that holds the lock of the run in `output`, in words. None: nobody holds it, or its holder was killed.

    Takes no lock, so that a run which starts meanwhile is not refused. A process on another machine counts as alive.
    """
    try:
        said = (output / _NAME).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    found = _OWNER.match(said)
    if found and found[2] == socket.gethostname():
        try:
            os.kill(int(found[1]), 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass  # It is another user's.
    return said or None


def _acquired(path: Path) -> int:
    """A handle on the locked file. Raises CheckpointError if another process holds the lock, and OSError."""
    while True:
        handle = open_own(path, os.O_RDWR)
        try:
            lock_now(handle)
            # The former holder may have removed the file since it was opened.
            if is_at(path, handle):
                owner = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S %z')}\n"
                os.ftruncate(handle, 0)
                os.pwrite(handle, owner.encode(), 0)
                return handle
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(handle)
                raise
            owner = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise CheckpointError(
                f"{path}: {owner}, is using this run: wait until it has ended, or choose another output"
            ) from error
        os.close(handle)


def lock_now(handle: int) -> None:
    """Lock the open file for this process, without waiting. Raises OSError (EWOULDBLOCK or EACCES) if another holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network file systems have no locks. A run there goes on without one.
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def is_at(path: Path, handle: int) -> bool:
    """Whether the open file is the one at `path`, and not one that had this name before."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(handle))
    except OSError:
        return False
