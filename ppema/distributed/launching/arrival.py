"""The arrival of this rank: it waits for the others of this machine before it connects to them.

Paddle's own wait stops the interpreter, and does not end early if a rank of a script ended without joining.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ppema.errors import SetupError
from ppema.ranks import ENDS, Ranks, arrived_ranks, note_arrival

_TURN = 0.02  # seconds
_LOOK = 1.0  # seconds between two looks at the processes
_DOUBT = 8.0  # seconds without a process; some seconds after a rank failed, Paddle's launcher ends all of them
_SILENCE = 60.0  # seconds after which a rank that runs is named
_PATIENCE = 900.0  # seconds, those of Paddle's own wait
_PROCESSES = Path("/proc")


def arrive(ranks: Ranks) -> None:
    """Wait until each rank of this machine arrives, 15 minutes at most. Returns at once after the first time.

    A line on stderr names the first one that is missing after a minute. Without `ppema launch`, nothing is noted, and nobody is
    waited for. Raises SetupError if a rank has ended, and if one does not arrive.
    """
    if folder := os.environ.get(ENDS):
        with suppress(FileNotFoundError):  # the folder is gone for a process that outlives `ppema launch`
            note_arrival()
            _wait(folder, ranks)


def _wait(folder: str, ranks: Ranks) -> None:
    begin = looked = time.monotonic()
    alive = dict.fromkeys(range(ranks.local_size), begin)
    warned = False
    while missing := alive.keys() - arrived_ranks(Path(folder)):
        now = time.monotonic()
        if now - looked > _LOOK:
            looked = now
            alive.update(dict.fromkeys(_living(folder), now))
            if ended := [local for local in missing if now - alive[local] > _DOUBT]:
                name = _named(ended, ranks)
                raise SetupError(f"{name} ended without joining the others, which wait for it: call this on all ranks")
        if now - begin > _PATIENCE:
            name = _named(missing, ranks)
            raise SetupError(f"{name} has not joined the others within {_PATIENCE / 60:.0f} minutes: call this on all ranks")
        if now - begin > _SILENCE and not warned:
            warned = True
            line = f"{_named(missing, ranks)} has not joined the others yet: they wait {_PATIENCE / 60:.0f} minutes for it"
            print(line, file=sys.__stderr__ or sys.stderr, flush=True)  # other ranks than 0 hide sys.stderr
        time.sleep(_TURN)


def _named(missing: Collection[int], ranks: Ranks) -> str:
    """The first of the local ranks `missing`, in words."""
    return f"rank {min(missing) + ranks.rank - ranks.local_rank}"


def _living(folder: str) -> set[int]:
    """The local ranks that have a process of the job whose ranks note their ends in `folder`."""
    found: set[int] = set()
    for path in _PROCESSES.glob("[0-9]*/environ"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # of another user, or it ended
            continue
        ranks = [word.partition("=")[2] for word in words if word.startswith("PADDLE_LOCAL_RANK=")]
        if f"{ENDS}={folder}" in words and ranks and ranks[0].isdecimal():
            found.add(int(ranks[0]))
    return found
