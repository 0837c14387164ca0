"""`Noticeboard`, what the ranks of a job write down for each other in the store."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import NamedTuple

from ppema.distributed.meetings import StoreConnection
from ppema.distributed.neighbour import Neighbour
from ppema.distributed.rank_activity import Activity
from ppema.distributed.verdict import Verdict


class Notice(NamedTuple):
    """The newest notice of a rank. beat: grows while its interpreter works."""

    beat: int
    activity: Activity


class Noticeboard:
    """By connections to the store for one thread. A call raises RuntimeError if rank 0, which has the store, is gone."""

    def __init__(self, job: StoreConnection, run: StoreConnection, rank: int):
        """job, run: the keys of all runs of the job, and of this run; rank: of this process."""
        self._job, self._store, self._rank, self._beat = job, run, rank, 0
        self._there: set[int] = set()

    def introduce(self, process: Neighbour) -> None:
        """Write down the process of this rank, which is the same in all runs of the job."""
        self._job.set(f"process/{self._rank}", json.dumps(asdict(process)))
        self._job.add(f"introduced/{self._rank}", 1)

    def process(self, rank: int) -> Neighbour | None:
        """The process of `rank`; None before it introduced it in any run."""
        # `get` would wait for it.
        known = self._job.add(f"introduced/{rank}", 0) > 0
        return Neighbour(**json.loads(self._job.get(f"process/{rank}"))) if known else None

    def publish(self, activity: Activity) -> None:
        """Write down that this rank lives, and its activity."""
        self._beat += 1
        self._store.set(f"notice/{self._rank}", json.dumps([self._beat, *activity]))
        if self._beat == 1:
            self._store.add(f"there/{self._rank}", 1)

    def read(self, rank: int) -> Notice | None:
        """The newest notice of `rank`; None before its first one in this run."""
        if rank not in self._there:
            if not self._store.add(f"there/{rank}", 0):
                return None
            self._there.add(rank)
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
