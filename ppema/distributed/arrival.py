"""The arrival of this rank: it waits for the others of this machine before it connects to them.

Paddle's own wait lasts up to 15 minutes, stops the interpreter, and does not end if a rank of a script ended without joining.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from ppema.errors import SetupError
from ppema.ranks import ENDS, Ranks, arrived_ranks, note_arrival

_TURN = 0.02  # seconds
_LOOK = 1.0  # seconds between two looks at the processes
_DOUBT = 8.0  # seconds without a process; some seconds after a rank failed, Paddle's launcher ends all of them
_PROCESSES = Path("/proc")


def arrive(ranks: Ranks) -> None:
    """Wait until each rank of this machine arrives, as long as its process lives. Returns at once after the first time.

    Without `ppema launch`, nothing is noted, and nobody is waited for. Raises SetupError if a rank has ended.
    """
    folder = os.environ.get(ENDS)
    if not folder or not os.path.isdir(folder):  # it is gone for a process that outlives `ppema launch`
        return
    note_arrival()
    looked = time.monotonic()
    alive = dict.fromkeys(range(ranks.local_size), looked)
    while missing := alive.keys() - arrived_ranks(Path(folder)):
        now = time.monotonic()
        if now - looked > _LOOK:
            looked = now
            alive.update(dict.fromkeys(_living(folder), now))
            if ended := [local for local in missing if now - alive[local] > _DOUBT]:
                rank = min(ended) + ranks.rank - ranks.local_rank
                raise SetupError(f"rank {rank} ended without joining the others, which wait for it: call this on all ranks")
        time.sleep(_TURN)


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
