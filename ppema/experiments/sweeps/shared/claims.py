"""Which process trains which trial of a sweep. A trial is claimed by one process at a time, and taken over from a dead one.

Processes that share a folder claim by its locks. With a storage for several machines, the claim is also written to the trial,
with a count that its holder raises: a claim whose count stays the same for a while belongs to a dead machine.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppema.experiments.sweeps.shared.outage import WatchedStorage
from ppema.experiments.sweeps.shared.trial_lock import TrialLock

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

CLAIM = "claim"  # attribute of a trial: {"by", "place", "count"}


@dataclass(frozen=True)
class Pace:
    """Seconds: between two raises of a claim's count; without one, until the holder counts as dead; between a claim by
    takeover and its check, during which another machine may claim the same trial."""

    beat: float = 15.0
    grace: float = 60.0
    settle: float = 2.0


@dataclass
class Claim:
    """A trial that this process trains."""

    number: int
    trial_id: int
    lock: TrialLock
    count: int = 0
    beaten: float = field(default_factory=time.monotonic)


class Claims:
    """The claims of this process on the trials of a study.

    folder: of the sweep; most: the number of trials; place: the machine and the folder, None if only processes that share the
    folder reach the storage.
    """

    def __init__(
        self, study: Study, storage: WatchedStorage, folder: Path, most: int, place: str | None, pace: Pace | None = None
    ):
        self._study = study
        self._storage = storage
        self._id = storage.get_study_id_from_name(study.study_name)
        self._folder = folder
        self._most = most
        self._place = place
        self._pace = pace or Pace()
        self._me = uuid.uuid4().hex
        self._seen: dict[int, tuple[Any, float]] = {}  # by trial: the claim, and when it was first seen

    def trials(self) -> list[FrozenTrial]:
        """The trials of the sweep that exist so far, in order."""
        return self._study.get_trials(deepcopy=False)[: self._most]

    def all_finished(self) -> bool:
        """Whether no trial is left, here or elsewhere."""
        found = self.trials()
        return len(found) == self._most and all(each.state.is_finished() for each in found)

    def next(self, preferred: int | None = None) -> Claim | None:
        """Claim a trial: the `preferred` one, one that its holder left, one that waits, or a new one.

        None if others hold all that are left.
        """
        from optuna.trial import TrialState

        if preferred is not None and (claim := self._take_ahead(preferred)):
            return claim
        found = self.trials()
        for trial in found:
            if trial.state == TrialState.RUNNING and (claim := self._take_over(trial)):
                return claim
        for trial in found:
            if trial.state == TrialState.WAITING and (claim := self._take_waiting(trial.number)):
                return claim
        return self._begin() if len(found) < self._most else None

    def _begin(self) -> Claim | None:
        """Claim a new trial. None if another process created the last one."""
        from optuna.trial import TrialState

        with TrialLock.wait(self._folder, "new"):
            if len(self.trials()) >= self._most:
                return None
            trial_id = self._storage.create_new_trial(self._id)
            number = self._storage.get_trial(trial_id).number
            if number >= self._most:
                # Another machine created the last one in this moment. A sweep with more trials will have a use for it.
                self._storage.set_trial_state_values(trial_id, TrialState.WAITING)
                return None
            lock = TrialLock.now(self._folder, f"{number:04d}")
        # Another process may hold the lock already, which found a trial without a holder.
        return None if lock is None else self._written(number, trial_id, lock)

    def _take_ahead(self, number: int) -> Claim | None:
        """Claim a trial that waits, or a new one. Those before it that do not exist are created, and wait."""
        from optuna.trial import TrialState, create_trial

        with TrialLock.wait(self._folder, "new"):
            for _ in range(len(self.trials()), number + 1):
                self._storage.create_new_trial(self._id, create_trial(state=TrialState.WAITING))
        return self._take_waiting(number)

    def _take_waiting(self, number: int) -> Claim | None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        lock = TrialLock.now(self._folder, f"{number:04d}")
        if lock is None:
            return None
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        try:
            if self._storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                return self._written(number, trial_id, lock)
        except UpdateFinishedTrialError:
            pass
        except BaseException:
            lock.release()
            raise
        lock.release()
        return None

    def _take_over(self, trial: FrozenTrial) -> Claim | None:
        """Claim a running trial whose holder died."""
        before = trial.user_attrs.get(CLAIM)
        here = self._place is None or (before is not None and before["place"] == self._place)
        if not here and not self._is_stale(trial.number, before):
            return None
        lock = TrialLock.now(self._folder, f"{trial.number:04d}")
        if lock is None:
            return None
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, trial.number)
        try:
            now = self._storage.get_trial(trial_id)
            if now.state == trial.state and now.user_attrs.get(CLAIM) == before:
                claim = self._written(trial.number, trial_id, lock)
                if here:
                    return claim
                time.sleep(self._pace.settle)
                if self.holds(claim):
                    return claim
        except BaseException:
            lock.release()
            raise
        lock.release()
        return None

    def _is_stale(self, number: int, claim: Any) -> bool:
        """Whether the claim of a process elsewhere has stayed the same for so long that its holder must be dead."""
        now = time.monotonic()
        seen, since = self._seen.get(number, (None, now))
        if number not in self._seen or seen != claim:
            since = now
        self._seen[number] = (claim, since)
        return now - since > self._pace.grace

    def _written(self, number: int, trial_id: int, lock: TrialLock) -> Claim:
        """The claim, written to the trial if others than the processes of this folder look for it."""
        claim = Claim(number, trial_id, lock)
        try:
            self._write(claim)
        except BaseException:
            lock.release()
            raise
        return claim

    def _write(self, claim: Claim) -> None:
        if self._place is not None:
            value = {"by": self._me, "place": self._place, "count": claim.count}
            self._storage.set_trial_user_attr(claim.trial_id, CLAIM, value)

    def keep(self, claim: Claim) -> bool:
        """Raise the claim's count if it is time to. Returns False if another machine has taken the trial over."""
        if self._place is None or time.monotonic() - claim.beaten < self._pace.beat:
            return True
        if self._storage.get_trial(claim.trial_id).state.is_finished() or not self.holds(claim):
            return False
        claim.count += 1
        self._write(claim)
        claim.beaten = time.monotonic()
        return True

    def holds(self, claim: Claim) -> bool:
        """Whether no other machine has taken the trial over."""
        if self._place is None:
            return True
        found = self._storage.get_trial(claim.trial_id).user_attrs.get(CLAIM)
        return found is not None and found["by"] == self._me

    def give_back(self, claim: Claim) -> None:
        """Let any process claim the trial and continue it."""
        from optuna.trial import TrialState

        self._storage.set_trial_state_values(claim.trial_id, TrialState.WAITING)
        claim.lock.release()
