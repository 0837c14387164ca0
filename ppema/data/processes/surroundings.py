"""Gives a worker process the import path of this process, without modules of the working directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# `python -c` puts the working directory first on its path, so that files there would replace Python's own modules. This
# variable prevents that (since Python 3.11).
_SAFE = "PYTHONSAFEPATH"
_HOME = str(Path(__file__).resolve().parents[3])


@dataclass(frozen=True)
class Surroundings:
    """`sys.path` and PYTHONSAFEPATH of the process that starts workers. safe_path: None if the variable is not set."""

    path: tuple[str, ...]
    safe_path: str | None

    def restore(self) -> None:
        """Set both in this process, a worker that has started."""
        sys.path[:] = self.path
        os.environ.pop(_SAFE, None)
        if self.safe_path is not None:
            os.environ[_SAFE] = self.safe_path


@contextmanager
def starting() -> Iterator[Surroundings]:
    """Lets a process that multiprocessing starts find ppema, and nothing in the working directory.

    A command line removes the folder that holds ppema from Python's path (see `ppema.user_code.modules`). A new process gets
    it as the last entry.
    """
    ours = Surroundings(tuple(sys.path), os.environ.get(_SAFE))
    os.environ[_SAFE] = "1"
    sys.path.append(_HOME)
    try:
        yield ours
    finally:
        ours.restore()
