"""`Meeting`, where ranks wait for each other through the store, for as long as it takes."""

from __future__ import annotations

import time

from ppema.ir.processes.rank_store import RankStore
from ppema.ranks import Ranks

_LONGEST_PAUSE = 0.01  # seconds


class Meeting:
    """The ranks of a job at Paddle's store. address: "host:port" of the store."""

    def __init__(self, ranks: Ranks, address: str):
        self._ranks = ranks
        self._store = RankStore(address, ranks.size)
        self._met = 0

    def meet(self, what: str) -> None:
        """Wait until all ranks are here."""
        self._met += 1
        key, pause = f"ppema/met/{self._met}", 0.0
        here = self._store.add(key, 1)
        while here < self._ranks.size:
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause + 0.0002)
            here = self._store.add(key, 0)

    def close(self) -> None:
        """Leave the meeting."""
