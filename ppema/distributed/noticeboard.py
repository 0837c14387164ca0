"""`Noticeboard`, what the ranks of a job write down for each other in the store."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import NamedTuple

from ppema.distributed.neighbour import Neighbour
from ppema.distributed.rank_activity import Activity
from ppema.distributed.verdict import Verdict
from ppema.ir.processes.rank_store import RankStore


class Notice(NamedTuple):
    """The newest notice of a rank. beat: grows while its interpreter works."""

    beat: int
    activity: Activity


class Noticeboard:
    """By one connection to the store, for one thread. A call raises RuntimeError if rank 0, which has the store, is gone."""

    def __init__(self, store: RankStore, rank: int):
        """rank: of this process."""
        self._store, self._rank, self._beat = store, rank, 0

    def introduce(self, process: Neighbour, activity: Activity) -> None:
        """Write down the process of this rank and its first activity, before any other rank reads either."""
        self._store.set(f"process/{self._rank}", json.dumps(asdict(process)))
        self.publish(activity)

    def process(self, rank: int) -> Neighbour:
        """The process of `rank`, which has introduced it."""
        return Neighbour(**json.loads(self._store.get(f"process/{rank}")))

    def publish(self, activity: Activity) -> None:
        """Write down that this rank lives, and its activity."""
        self._beat += 1
        self._store.set(f"notice/{self._rank}", json.dumps([self._beat, *activity]))

    def read(self, rank: int) -> Notice:
        """The newest notice of `rank`."""
        beat, *activity = json.loads(self._store.get(f"notice/{rank}"))
        return Notice(beat, Activity(*activity))

    def agree(self, verdict: Verdict) -> Verdict:
        """Write down why the job ends. Returns the first such verdict, which holds for all ranks."""
        self._store.set(f"verdict/{self._rank}", json.dumps(asdict(verdict)))
        if self._store.add("claimed", 1) == 1:
            self._store.add("judge", self._rank + 1)
        return self.verdict() or verdict

    def verdict(self) -> Verdict | None:
        """Why the job ends, as the first rank that knew wrote it down; None while it goes on."""
        judge = self._store.add("judge", 0)
        return Verdict(**json.loads(self._store.get(f"verdict/{judge - 1}"))) if judge else None
