"""The folder of the launcher's logs: for one user, and for one job at a time."""

from __future__ import annotations

import fcntl
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ppema.errors import SetupError

_ITS_FILES = ("workerlog.", "envlog.", "backup_env.")


@contextmanager
def log_folder(folder: Path, command: Sequence[str]) -> Iterator[None]:
    """Make `folder`, private to this user, and keep other jobs from it in this context.

    Logs of earlier jobs get a line with the time and the `command` of this one, as Paddle's launcher appends to them. Raises
    SetupError for a folder that can not be used, see `private`, and for that of a running job.
    """
    private(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupError(
                f"the log folder {folder}: another job that runs writes its logs there: name another one for this job, such as "
                f"--log_dir {folder}2"
            ) from error
        except OSError:  # a network's file system, which may have no locks for folders
            pass
        for log in folder.glob("workerlog.*"):
            with suppress(OSError), open(log, "a", encoding="utf-8") as file:
                file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S %z')}: {shlex.join(command)}\n")
        yield
    finally:
        os.close(handle)


def private(folder: Path) -> None:
    """Make `folder` for the launcher's logs, readable by this user alone: the launcher writes its whole environment there.

    Raises SetupError for a folder that others can read, if it holds anything else.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            strange = next((path.name for path in folder.iterdir() if not path.name.startswith(_ITS_FILES)), None)
            if strange is not None and not strange.endswith(".log"):
                raise SetupError(
                    f"the log folder {folder}: Paddle's launcher writes the whole environment there, other users can read the "
                    f"folder, and it holds more than logs, such as {strange}: name another one"
                )
            folder.chmod(0o700)
    except OSError as error:
        raise SetupError(f"the log folder {folder}: {error.strerror}") from error
