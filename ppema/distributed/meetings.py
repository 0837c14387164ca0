"""`Meetings`, at each of which a rank waits until all ranks are there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ppema.ranks import Ranks

_LONGEST_PAUSE = 0.01  # seconds between two looks at a meeting


class StoreConnection(Protocol):
    """The store of the ranks, see `ppema.ir.processes.rank_store.RankStore`."""

    def set(self, key: str, value: str) -> None:
        """Set a value."""
        ...

    def get(self, key: str) -> str:
        """The value of a key. Waits until there is one."""
        ...

    def add(self, key: str, number: int) -> int:
        """Add to a counter, which begins with 0, and return it."""
        ...


class Meetings:
    """The meetings of one run. No rank arrives at a meeting before all have left the one before: one counter suffices."""

    def __init__(self, store: StoreConnection, ranks: Ranks):
        """store: a connection of the main thread."""
        self._store, self._ranks, self._met = store, ranks, 0

    def meet(self, what: str, check: Callable[[], None]) -> tuple[int, str] | None:
        """Wait until all ranks are here. what: follows the meeting; check: is called while this rank waits, and may raise.

        Returns None if the next rank, in a circle, has the same `what`; otherwise its number and its `what`. If any two ranks
        differ, at least two of them find that. Raises RuntimeError if the store is gone.
        """
        self._met += 1
        # A rank is ahead of another one by one meeting at most, so that two values for each rank suffice.
        place, following = f"next/{self._met % 2}", (self._ranks.rank + 1) % self._ranks.size
        self._store.set(f"{place}/{self._ranks.rank}", what)
        wanted, pause = self._met * self._ranks.size, 0.0
        here = self._store.add("met", 1)
        while here < wanted:
            check()
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause + 0.0002)
            here = self._store.add("met", 0)
        theirs = self._store.get(f"{place}/{following}")
        return None if theirs == what else (following, theirs)
