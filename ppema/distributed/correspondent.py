"""`Correspondent`, the thread of a rank that writes its activity into the store, and reads those of the others there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from ppema.distributed.neighbour import Neighbour
from ppema.distributed.noticeboard import Notice, Noticeboard
from ppema.distributed.rank_activity import Activity
from ppema.distributed.verdict import Verdict

ANSWERED = 3.0  # seconds in which the store answers at the latest while rank 0 works
_PAUSE = 0.25  # seconds
_LONGEST_TICK = 1.0  # seconds
_FROZEN = 10.0  # seconds without a turn that are a freeze; and those awake after one, in which the others may end because of it


class Clock:
    """Seconds in which this process was awake. Time in which it was stopped, or had no turn, counts for little.

    After such a time, what is known of the other ranks is old, and none of them is to blame.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.now = 0.0
        self._freeze = 0.0, 0.0  # the seconds of the last one, and when it ended

    def tick(self) -> None:
        """Move on. Called several times a second."""
        now = time.monotonic()
        passed = now - self._last
        self.now += min(passed, _LONGEST_TICK)
        self._last = now
        if passed > _FROZEN:
            self._freeze = passed, self.now

    @property
    def frozen(self) -> float:
        """Seconds of a freeze that ended a moment ago, because of which other ranks may have ended; 0 without one."""
        seconds, end = self._freeze
        return seconds if self.now <= end + _FROZEN else 0.0


@dataclass(frozen=True)
class Heard:
    """The newest notice of a rank. beaten, changed: when its beat and its activity last changed, by the clock."""

    notice: Notice
    beaten: float
    changed: float


class Correspondent:
    """Talks to the store in a thread, because no call of the store has a time limit.

    activity: of this rank, written by its main thread. processes: of the ranks, once known. heard: of the ranks that are read
    now. ended: how processes of other ranks of this machine ended, in words; their last notices are read. answered: when the
    store last did. broken: whether the store is gone. verdict: why the job ends, or None.
    """

    def __init__(self, board: Noticeboard, rank: int, size: int, clock: Clock, activity: Activity):
        self.activity = activity
        self.processes: dict[int, Neighbour] = {}
        self.heard: dict[int, Heard] = {}
        self.ended: dict[int, str] = {}
        self.answered = clock.now
        self.broken = False
        self.verdict: Verdict | None = None
        self._board, self._rank, self._size, self._clock = board, rank, size, clock
        self._proposed: Verdict | None = None
        self._turn, self._done, self._ended = threading.Event(), threading.Condition(), False
        self._exchanges = 0
        self._thread = threading.Thread(target=self._run, name="ppema-correspondent", daemon=True)
        self._thread.start()

    def propose(self, verdict: Verdict, limit: float) -> Verdict:
        """The verdict that all ranks agree on: this one, or an earlier one. Waits `limit` seconds for the store at most."""
        self._proposed = verdict
        self.exchange(limit)
        return self.verdict or verdict

    def exchange(self, limit: float) -> None:
        """Wait until the present activity is written and the others' are read, for `limit` seconds at most."""
        with self._done:
            wanted = self._exchanges + 2  # the one that is under way may have begun before
            self._turn.set()
            self._done.wait_for(lambda: self._exchanges >= wanted or self.broken, limit)

    def end(self, limit: float) -> None:
        """Write the last activity and end the thread. Waits for `limit` seconds at most."""
        self._ended = True
        self._turn.set()
        self._thread.join(limit)

    def _run(self) -> None:
        while not self.broken:
            ended = self._ended
            try:
                self._exchange()
            except RuntimeError:
                self.broken = True
            with self._done:
                self._exchanges += 1
                self._done.notify_all()
                waited_for = self._turn.is_set()
            if ended:
                return
            self._turn.clear()
            if not waited_for:
                self._turn.wait(_PAUSE)

    def _exchange(self) -> None:
        self._board.publish(self.activity)
        if self._proposed is not None and self.verdict is None:
            self.verdict = self._board.agree(self._proposed)
        elif self.verdict is None:
            self.verdict = self._board.verdict()
        unknown = {rank: self._board.process(rank) for rank in range(self._size) if rank not in self.processes}
        self.processes = {**self.processes, **{rank: each for rank, each in unknown.items() if each is not None}}
        now, heard = self._clock.now, {}
        ended = self._ended_near()
        for rank in self._read(ended):
            notice, before = self._board.read(rank), self.heard.get(rank)
            if notice is None:
                continue
            # A rank that was not read before counts as fresh.
            beaten, changed = (before.beaten, before.changed) if before else (now, now)
            if before and notice.beat != before.notice.beat:
                beaten = now
            if before and notice.activity != before.notice.activity:
                changed = now
            heard[rank] = Heard(notice, beaten, changed)
        self.heard, self.ended, self.answered = heard, ended, now  # in this order: another thread reads `ended` first

    def _ended_near(self) -> dict[int, str]:
        """How processes of other ranks ended, of those on this machine."""
        others = {rank: each for rank, each in self.processes.items() if rank != self._rank and each.near}
        return {rank: words for rank, each in others.items() if (words := each.ended())}

    def _read(self, ended: Iterable[int]) -> list[int]:
        """The ranks to read now: rank 0 reads all, another one rank 0 and those that ended, unless its program run failed."""
        everyone = self._rank == 0 or self.activity.sort == "lost"
        return [rank for rank in (range(self._size) if everyone else sorted({0, *ended})) if rank != self._rank]
