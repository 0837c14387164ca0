"""`Lookout`, by which each rank of a job learns of a fault of another one, and ends with one line about it."""

from __future__ import annotations

import atexit
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from ppema.distributed.correspondent import Clock, Correspondent
from ppema.distributed.neighbour import Neighbour
from ppema.distributed.noticeboard import Noticeboard
from ppema.distributed.rank_activity import Activity, Sort
from ppema.distributed.verdict import Sighting, Verdict, absent, gone, hanging, mute
from ppema.errors import PeerError, TrainingError
from ppema.ir.processes.rank_store import RankStore
from ppema.ranks import Ranks, note_end

_OPENED = itertools.count()  # the lookouts of this process; every rank opens them in the same order
_TURN = 0.2  # seconds between two looks at the others
_LONGEST_PAUSE = 0.01  # seconds between two looks at a meeting
_ALIKE = 1.0  # seconds in which this rank may fail with the same error as the one that failed
_GRACE = 2.0  # seconds that the main thread has to end, before the process ends without it
_EXPLAINED = 12.0  # seconds in which a failed program run is explained at the latest
_ARRIVED = 120.0  # seconds in which all ranks are there, once Paddle connected them
_FROZEN = 10.0  # seconds without a turn after which the others may have ended because of this rank
_STORE = 3.0  # seconds in which the store answers at the latest, as long as rank 0 works
# In the messages of gloo, of NCCL, and of Paddle about both.
_OF_CONNECTION = ("gloo", "std::exception", "NCCL", "ProcessGroup")


class Lookout:
    """The lookout of this rank for faults of the others. Two threads of it work until `close`.

    A verdict is a line that names the rank at fault, what it was doing, and the reason. All ranks agree on one. It is written
    on stderr, once, and the process ends with code 1: by a PeerError in the main thread, or, if that does not end within some
    seconds, at once.
    """

    def __init__(self, ranks: Ranks, address: str, patience: float):
        """address: "host:port" of the store; patience: seconds without progress after which a rank hangs.

        Waits until all ranks are here.
        """
        self._ranks, self._patience = ranks, patience
        # The runs of one job, such as a training and an evaluation after it, have keys of their own.
        folder = f"ppema/{next(_OPENED)}"
        self._store, self._met = RankStore(address, ranks.size, folder), 0
        self._verdict: Verdict | None = None
        self._failed = False
        self._code: int | None = None  # of the process, after a fault
        self._written = threading.Lock()
        self._closing = False
        self._parent = os.getppid()
        board = Noticeboard(RankStore(address, ranks.size, folder), ranks.rank)
        first = Activity(0, "slow", "starting")
        board.introduce(Neighbour.here(), first)
        began = time.monotonic()
        self._await_all(lambda: _check_arrival(began))
        self._processes = {rank: board.process(rank) for rank in range(ranks.size)}
        self._near = [rank for rank, each in self._processes.items() if each.near and rank != ranks.rank]
        self._clock = Clock()
        self._post = Correspondent(board, ranks.rank, ranks.size, self._clock, first)
        self._lost: tuple[Activity, float] | None = None
        self._own = first, 0.0  # this rank's activity, and when it began
        self._thread = threading.Thread(target=self._look, name="ppema-lookout", daemon=True)
        self._thread.start()
        atexit.register(self._exit_at_once)
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._terminated)

    def enter(self, text: str, sort: Sort) -> None:
        """Begin an activity. Raises PeerError if another rank failed. Takes about a microsecond."""
        self._post.activity = Activity(self._post.activity.number + 1, sort, text)
        if self._verdict is not None:
            self._raise(self._verdict)

    def meet(self, what: str) -> None:
        """Wait until all ranks are here. what: is done next. Raises PeerError."""
        before = self._post.activity
        self.enter(f"waiting for the others before {what}", "waiting")
        try:
            self._await_all(self._check)
        except RuntimeError as error:
            self._raise(self._decided(3 * _TURN) or self._broken(str(error)))
        self.enter(before.text, before.sort)

    def failed(self, reason: str, code: int) -> None:
        """Let the others know why this rank ends, in one line, and with which exit code. Nothing if another is at fault."""
        if self._verdict is not None or self._closing or self._failed:
            return
        self._failed, self._code = True, code
        rank, doing = self._ranks.rank, self._post.activity.text
        self._post.propose(Verdict(rank, f"rank {rank} failed while {doing}: {reason}", code, own=True), _STORE)
        if self._ranks.first:
            time.sleep(2 * _TURN)  # the others have to read it before the store ends with this process

    def explain(self, error: TrainingError) -> TrainingError:
        """The error for a program run between ranks that failed with `error`: a PeerError if another rank is at fault."""
        if not is_broken(error):
            return error
        mine = self._post.activity
        self._lost = mine, self._clock.now
        self._post.activity = Activity(mine.number + 1, "lost", mine.text)
        verdict = self._decided(_EXPLAINED) or self._broken(str(error))
        self._write(verdict)
        return PeerError(verdict.line, verdict.code)

    def close(self) -> None:
        """Leave the job. Rank 0, which has the store, waits until the others have left, unless the job failed."""
        self._closing = True
        ended = self._failed or self._verdict is not None
        self._post.activity = Activity(self._post.activity.number + 1, "left", "leaving")
        if not ended:
            self._post.exchange(_STORE)
            while self._ranks.first and not self._post.broken and self._verdict is None and self._others_active():
                time.sleep(_TURN / 4)
        self._post.end(_STORE / 2)
        if not ended:
            self._thread.join(_STORE / 2)
            if signal.getsignal(signal.SIGTERM) == self._terminated:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _await_all(self, check: Callable[[], None]) -> None:
        """Wait at the next meeting. No rank arrives at it before all have left the one before, so that one counter does."""
        self._met += 1
        wanted, pause = self._met * self._ranks.size, 0.0
        here = self._store.add("met", 1)
        while here < wanted:
            check()
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause + 0.0002)
            here = self._store.add("met", 0)

    def _exit_at_once(self) -> None:
        """After a fault, end without Paddle's own end, which takes seconds, or waits for a rank that is gone."""
        if self._code is not None:
            if self._ranks.first and self._verdict is not None:
                time.sleep(2 * _TURN)  # the store ends with this process, and the others have to read the verdict there
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self._code)

    def _terminated(self, number: int, frame: object) -> None:
        """End after SIGTERM. The launcher sends it to all ranks after a fault of one, perhaps before this one knows of that."""
        if self._closing or self._failed:
            return
        if verdict := self._decided(_ALIKE):
            self._raise(verdict)
        self._failed, self._code = True, 128 + number
        sys.exit(self._code)

    def _check(self) -> None:
        if self._verdict is not None:
            self._raise(self._verdict)

    def _raise(self, verdict: Verdict) -> None:
        self._write(verdict)
        raise PeerError(verdict.line, verdict.code)

    def _decided(self, limit: float) -> Verdict | None:
        """The verdict, for which this waits `limit` seconds at most."""
        end = time.monotonic() + limit
        while self._verdict is None and time.monotonic() < end:
            time.sleep(_TURN / 4)
        return self._verdict

    def _broken(self, reason: str) -> Verdict:
        doing = self._post.activity.text
        return Verdict(self._ranks.rank, f"the connection between the ranks broke while {doing}: {' '.join(reason.split())}")

    def _write(self, verdict: Verdict) -> None:
        """Write the line of the verdict, if nothing did before."""
        if self._written.acquire(blocking=False):
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{verdict.line}\n".encode(errors="backslashreplace"))
            note_end(verdict.code, verdict.line)

    def _others_active(self) -> bool:
        return any(each.active and not each.ended for each in self._sightings())

    def _sightings(self) -> list[Sighting]:
        """What is known of the other ranks: of those that are read, and of those on this machine."""
        now, heard, found = self._clock.now, self._post.heard, []
        for rank in sorted({*heard, *self._near}):
            process, notice = self._processes[rank], heard.get(rank)
            near = rank in self._near
            ended = process.ended() if near else None
            if rank == 0 and self._post.broken and now - self._post.answered > _STORE:
                ended = ended or "is gone, and with it the store of the ranks,"
            if notice is None:
                found.append(Sighting(rank, Activity(0, "slow", "at work"), 0.0, 0.0, ended))
            else:
                stopped = near and process.stopped()
                since, silent = now - notice.changed, now - notice.beaten
                found.append(Sighting(rank, notice.notice.activity, since, silent, ended, stopped))
        return found

    def _look(self) -> None:
        """The thread that looks after the others."""
        while not (self._closing and (self._failed or not self._ranks.first or not self._others_active())):
            time.sleep(_TURN)
            self._clock.tick()
            if os.getppid() != self._parent:
                # The launcher was killed. Its ranks stop as if it had been ended by SIGTERM.
                self._parent = os.getppid()
                os.kill(os.getpid(), signal.SIGTERM)
            found = self._post.verdict or self._find()
            if found is not None and not self._failed:
                self._act(found)
                return

    def _find(self) -> Verdict | None:
        """The verdict of this rank, by what it knows."""
        mine, seen, now = self._post.activity, self._sightings(), self._clock.now
        found, rank = gone(mine, seen), self._ranks.rank
        if found is not None and self._clock.longest > _FROZEN:
            line = f"rank {rank} did not run for {self._clock.longest:.0f} s while {mine.text}, and rank {found.rank} ended"
            return Verdict(rank, line)
        if found is None and self._lost is not None:
            activity, begin = self._lost
            found = mute(mine, seen, min(_STORE, self._patience)) or absent(activity, now - begin, seen)
        if found is None:
            found = mute(mine, seen, self._patience)
        if found is None and self._ranks.first:
            if self._own[0] != mine:
                self._own = mine, now
            own = Sighting(0, self._own[0], now - self._own[1], 0.0)
            found = hanging([own, *seen], self._patience)
        return found

    def _act(self, found: Verdict) -> None:
        """Agree with the other ranks on the verdict, write it, and end the process unless its main thread does."""
        verdict = self._post.verdict or self._post.propose(found, _STORE / 2)
        culprit = self._processes[verdict.rank]
        if verdict.rank in self._near and culprit.stopped():
            culprit.kill()
        self._code, self._verdict = verdict.code, verdict
        end = time.monotonic() + _GRACE
        while verdict.own and not self._failed and time.monotonic() < end - (_GRACE - _ALIKE):
            time.sleep(_TURN / 4)
        if not self._failed:
            self._write(verdict)
        time.sleep(max(0.0, end - time.monotonic()))
        note_end(verdict.code, verdict.line)
        os._exit(verdict.code)


def is_broken(error: TrainingError) -> bool:
    """Whether a program run failed with `error` because it lost another rank. Otherwise this rank's own operation failed."""
    return any(each in str(error) for each in _OF_CONNECTION)


def _check_arrival(began: float) -> None:
    if time.monotonic() - began > _ARRIVED:
        raise PeerError(f"not all ranks arrived within {_ARRIVED:.0f} s: one of them ended, or its machine can not be reached")
