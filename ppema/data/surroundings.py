"""What a worker's process needs of this one's surroundings, and what it must not take from the working directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Python begins a process that runs a line of code with the working directory in front of its path, but for this variable
# (since 3.11), and what lies there would run in place of Python's own modules.
_SAFE = "PYTHONSAFEPATH"
_HOME = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True)
class Surroundings:
    """Python's path, and the value of PYTHONSAFEPATH, of the process that starts workers."""

    path: tuple[str, ...]
    safe_path: str | None

    def restore(self) -> None:
        """Make them this process's, which is a worker that has started."""
        sys.path[:] = self.path
        os.environ.pop(_SAFE, None)
        if self.safe_path is not None:
            os.environ[_SAFE] = self.safe_path


@contextmanager
def starting() -> Iterator[Surroundings]:
    """Inside, a process of multiprocessing's that is started finds ppema, and nothing in the working directory.

    A command line takes the folder that holds ppema off Python's path (`ppema.user_code.modules`). In a new process it comes
    last.
    """
    ours = Surroundings(tuple(sys.path), os.environ.get(_SAFE))
    os.environ[_SAFE] = "1"
    sys.path.append(_HOME)
    try:
        yield ours
    finally:
        ours.restore()
