"""`Lookout`, by which each rank of a job learns of a fault of another one, and ends with one line about it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from ppema.distributed.correspondent import ANSWERED, Clock, Correspondent
from ppema.distributed.judge import Judge
from ppema.distributed.meetings import Meetings, StoreConnection
from ppema.distributed.neighbour import Neighbour
from ppema.distributed.noticeboard import Noticeboard
from ppema.distributed.process_end import ProcessEnd
from ppema.distributed.rank_activity import Activity, Sort
from ppema.distributed.verdict import Verdict
from ppema.errors import PeerError, TrainingError
from ppema.ranks import Ranks, note_end

_TURN = 0.2  # seconds between two looks at the others
_ALIKE = 1.0  # seconds in which this rank may fail with the same error as the one that failed
_GRACE = 2.0  # seconds in which the main thread learns of a verdict, before the process ends without it
_EXPLAINED = 12.0  # seconds in which a failed program run is explained at the latest
# In the messages of gloo, of NCCL, and of Paddle about both.
_OF_CONNECTION = ("gloo", "std::exception", "NCCL", "ProcessGroup")


class Lookout:
    """The lookout of this rank for faults of the others. Two threads of it work until `close`.

    A verdict is a line that names the rank at fault, what it was doing, and the reason. All ranks agree on one. It is written
    on stderr, once, and the process ends with code 1: by a PeerError in the main thread, or, if that does not learn of it
    within some seconds, at once. Slow work, such as saving, is finished before.
    """

    def __init__(self, ranks: Ranks, connect: Callable[[str], StoreConnection], run: int, patience: float):
        """connect: a new connection to the store, for the keys of a folder. run: number of this run among those of the job.

        patience: seconds without progress after which a rank hangs. Waits until all ranks are here, while all live.
        """
        self._ranks, self._patience = ranks, patience
        # The runs of one job, such as a training and an evaluation after it, have keys of their own.
        self._meetings = Meetings(connect(f"ppema/{run}"), ranks)
        self._verdict: Verdict | None = None
        self._learned = False  # whether the main thread knows the verdict
        self._failed = False
        self._written = threading.Lock()
        self._closing = False
        self._parent = os.getppid()
        board = Noticeboard(connect("ppema/job"), connect(f"ppema/{run}"), ranks.rank)
        board.introduce(Neighbour.here())
        self._clock = Clock()
        self._post = Correspondent(board, ranks.rank, ranks.size, self._clock, Activity(0, "slow", "starting"))
        self._judge = Judge(self._post, self._clock, ranks, patience)
        # The store ends with rank 0, and the others have to read the verdict there.
        self._end = ProcessEnd(self._terminate, self.close, 2 * _TURN if ranks.first else 0.0)
        self._thread = threading.Thread(target=self._look, name="ppema-lookout", daemon=True)
        self._thread.start()
        self.meet("the run")

    def enter(self, text: str, sort: Sort) -> None:
        """Begin an activity. Raises PeerError if another rank failed. Takes about a microsecond."""
        self._post.activity = Activity(self._post.activity.number + 1, sort, text)
        self._check()

    def meet(self, what: str) -> None:
        """Wait until all ranks are here. what: is done next, the same on all ranks. Raises PeerError."""
        before = self._post.activity
        self.enter(f"waiting for the others before {what}", "waiting")
        try:
            other = self._meetings.meet(what, self._check)
        except RuntimeError as error:
            self._raise(self._decided(3 * _TURN) or self._broken(str(error)))
        if other is not None:
            rank = self._ranks.rank
            line = f"the ranks do different things: rank {rank} is before {what}, rank {other[0]} before {other[1]}"
            self._raise(self._post.propose(Verdict(rank, line), ANSWERED))
        self.enter(before.text, before.sort)

    def failed(self, reason: str, code: int) -> None:
        """Let the others know why this rank ends, in one line, and with which exit code. Nothing if another is at fault.

        If several ranks raise the same error, it is the own error of each.
        """
        verdict = self._verdict
        if self._closing or self._failed or (verdict is not None and not verdict.line.endswith(f": {reason}")):
            return
        self._failed = True
        self._end.failed()
        rank, doing = self._ranks.rank, self._post.activity.text
        self._post.propose(Verdict(rank, f"rank {rank} failed while {doing}: {reason}", code, own=True), ANSWERED)
        if self._ranks.first:
            time.sleep(2 * _TURN)  # the others have to read it before the store ends with this process

    def explain(self, error: TrainingError) -> TrainingError:
        """The error for a program run between ranks that failed with `error`: a PeerError if another rank is at fault."""
        if not is_broken(error):
            return error
        mine = self._post.activity
        self._judge.lost(mine)
        self._post.activity = Activity(mine.number + 1, "lost", mine.text)
        verdict = self._decided(_EXPLAINED) or self._broken(str(error))
        self._learn(verdict)
        return PeerError(verdict.line, verdict.code)

    def close(self) -> None:
        """Leave the run. Rank 0, which has the store, waits until the others have left, unless the run failed."""
        self._closing = True
        self._end.closing()
        ended = self._failed or self._verdict is not None
        self._post.activity = Activity(self._post.activity.number + 1, "left", "leaving")
        if not ended:
            self._post.exchange(ANSWERED)
            while self._ranks.first and not self._post.broken and self._verdict is None and self._judge.others_active():
                time.sleep(_TURN / 4)
        self._post.end(ANSWERED / 2)
        if not ended:
            self._thread.join(ANSWERED / 2)
        self._end.close()

    def _terminate(self, number: int) -> None:
        """End after SIGTERM. The launcher sends it to all ranks after a fault of one, perhaps before this one knows of that."""
        if self._learned:
            return
        if verdict := self._decided(_ALIKE):
            self._raise(verdict)
        self._failed = True
        self._end.failed()
        note_end(128 + number)
        sys.exit(128 + number)

    def _check(self) -> None:
        if self._verdict is not None:
            self._raise(self._verdict)

    def _raise(self, verdict: Verdict) -> NoReturn:
        self._learn(verdict)
        raise PeerError(verdict.line, verdict.code)

    def _learn(self, verdict: Verdict) -> None:
        """The main thread ends with the verdict."""
        self._learned, self._end.code = True, verdict.code
        self._write(verdict)

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
            line = f"{verdict.line}\n".encode(errors="backslashreplace")
            with suppress(OSError, ValueError):  # such as a full disk; the process has to end all the same
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line)
            note_end(verdict.code, verdict.line)

    def _look(self) -> None:
        """The thread that looks after the others."""
        while not (self._closing and (self._failed or not self._ranks.first or not self._judge.others_active())):
            time.sleep(_TURN)
            self._clock.tick()
            if os.getppid() != self._parent:
                # The launcher was killed. Its ranks stop as if it had been ended by SIGTERM.
                self._parent = os.getppid()
                os.kill(os.getpid(), signal.SIGTERM)
            found = self._post.verdict or self._judge.verdict()
            if found is not None and not self._failed:
                self._act(found)
                return

    def _act(self, found: Verdict) -> None:
        """Agree with the other ranks on the verdict, write it, and end the process unless its main thread does."""
        verdict = self._post.verdict or self._post.propose(found, ANSWERED / 2)
        culprit = self._post.processes.get(verdict.rank)
        if culprit is not None and verdict.rank != self._ranks.rank and culprit.near and culprit.stopped():
            culprit.kill()
        self._verdict, self._end.code = verdict, verdict.code
        begun = time.monotonic()
        alike = begun + (_ALIKE if verdict.own else 0.0)
        while not self._failed and not self._learned and time.monotonic() < alike:
            time.sleep(_TURN / 4)
        if not self._failed:
            self._write(verdict)
            self._let_main_end(begun)
        if self._failed:
            self._end.failed()
        else:
            note_end(verdict.code, verdict.line)
            self._end.at_once(verdict.code)

    def _let_main_end(self, begun: float) -> None:
        """Wait while the main thread ends with the verdict or does slow work, and for some seconds until it learns of it.

        begun: time of the verdict. `runtime.rank_patience` is the limit.
        """
        now, end, last = time.monotonic(), begun + max(self._patience, _GRACE), begun + _GRACE
        while not self._failed and now < end:
            if self._post.activity.sort == "slow":
                last = now + _GRACE
            if now >= last and not self._learned:
                return
            time.sleep(_TURN / 4)
            now = time.monotonic()


def is_broken(error: TrainingError) -> bool:
    """Whether a program run failed with `error` because it lost another rank. Otherwise this rank's own operation failed."""
    return any(each in str(error) for each in _OF_CONNECTION)
