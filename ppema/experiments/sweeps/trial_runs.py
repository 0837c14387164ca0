"""One trial in training: a run for each seed, one after the other, watched through its records."""

from __future__ import annotations

import signal
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ppema.errors import TrainingError
from ppema.experiments.sweeps.search.best_length import searched_lengths
from ppema.experiments.sweeps.seed_run import SeedRun, Settings
from ppema.experiments.sweeps.shared.claims import Claim, Claims
from ppema.experiments.sweeps.shared.outage import WatchedStorage
from ppema.experiments.sweeps.sweep_folder import RunResult, trial_folder
from ppema.experiments.sweeps.trial_process import is_crash, of_sweep

if TYPE_CHECKING:
    from optuna.trial import Trial

# Attributes of a trial in the storage. RUNS: its ended runs, each a RunResult with LENGTHS, the lengths of an average that can
# win; KILLED: the seed and the newest saved step of the last training that was ended by a signal; ERROR: why it failed.
RUNS, LENGTHS, KILLED, ERROR = "runs", "lengths", "killed", "error"
_BAD_INPUT = 2  # exit code


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended. refused: the training refused its input; stopped: with the sweep; lost: to another machine."""

    state: Literal["complete", "pruned", "failed", "refused", "stopped", "lost"]
    reason: str = ""


class TrialRuns:
    """The runs of a claimed trial. Every method may be called again after an outage of the storage."""

    def __init__(
        self,
        settings: Settings,
        trial: Trial,
        params: dict[str, Any],
        claim: Claim,
        claims: Claims,
        storage: WatchedStorage,
    ):
        self._settings = settings
        self._trial = trial
        self._claims = claims
        self._storage = storage
        self.params = params
        self.claim = claim
        attributes = trial.user_attrs
        self._killed: list[int] | None = attributes.get(KILLED)
        self._runs: list[dict[str, Any]] = [each for each in attributes.get(RUNS, []) if each["state"] == "complete"]
        self._reported = set(storage.get_trial(claim.trial_id).intermediate_values)
        self._run: SeedRun | None = None
        self._stopping = self._lost = False
        self._remark = ""

    @property
    def step(self) -> int | None:
        """The step of the last evaluation of the present run; None before the first."""
        return None if self._run is None else self._run.last

    @property
    def seed(self) -> int:
        """The seed of the present run."""
        seeds = self._settings.space.seeds
        return seeds[min(len(self._runs), len(seeds) - 1)]

    def poll(self) -> TrialEnd | None:
        """Report evaluations, and start the next run when one has ended. None while the trial goes on.

        Raises PpemaError if the config changed since the sweep began; TrainingError for a full disk, and for a folder that can
        not be used; errors of the storage.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            return self._poll()
        except UpdateFinishedTrialError:  # by another machine, which took the trial over
            self._lost = True
            self.stop()
            return None if self.training() else TrialEnd("lost")

    def _poll(self) -> TrialEnd | None:
        if not self._lost and not self._claims.keep(self.claim):
            self._lost = True
            self.stop()
        if self._run is None:
            if self._is_lost():
                return TrialEnd("lost")
            if len(self._runs) == len(self._settings.space.seeds):
                return self._complete()
            if self._stopping:
                return TrialEnd("stopped")
            self._run = SeedRun(self._settings, self.params, self.claim.number, self.seed, self.claim.lock.handle)
            return None
        code = self._run.ended()
        self._report(self._run)
        return None if code is None else self._ended(self._run, code)

    def stop(self) -> None:
        """Let the training save and end; no further run starts."""
        self._stopping = True
        if self._run is not None:
            self._run.stop()

    def training(self) -> bool:
        """Whether a training runs."""
        return self._run is not None and self._run.training()

    def fail(self, reason: str, *, diverged: bool = False) -> TrialEnd:
        """Record that the trial failed. diverged: whether its values are to blame."""
        from optuna.trial import TrialState

        self._record({"state": "failed"}, self._runs)
        self._set(ERROR, reason)
        # Optuna's TPE ignores a failed trial, and ranks a pruned one below all complete ones: it then avoids such values.
        self._tell(TrialState.PRUNED if diverged and self._settings.space.method == "tpe" else TrialState.FAIL)
        return TrialEnd("failed", reason)

    def _is_lost(self) -> bool:
        """Whether another machine has taken the trial over, which then records how it ends."""
        self._lost = self._lost or not self._claims.holds(self.claim)
        return self._lost

    def _report(self, run: SeedRun) -> None:
        """Report new evaluations to Optuna, and end the run if its pruner advises that."""
        from ppema.experiments.sweeps.search.pruning import point_of

        fresh = False
        total = sum(each["value"] for each in self._runs)
        while run.waiting:
            step, value = run.waiting[0]
            value = run.compared(step, value)
            point = point_of(len(self._runs), run.share(step))
            if value is not None and point not in self._reported and not self._lost:
                # The mean over the runs so far, so that a trial is compared with others after as many runs.
                self._trial.report((total + value) / (len(self._runs) + 1), point)
                self._reported.add(point)
                fresh = True
            del run.waiting[0]
        prunes = self._settings.space.section.prune and not (run.pruning or self._stopping)
        if fresh and prunes and self._trial.should_prune():
            run.prune()

    def _ended(self, run: SeedRun, code: int) -> TrialEnd | None:
        """What follows from the end of a run: None for another run."""
        from optuna.trial import TrialState

        if self._is_lost():
            return TrialEnd("lost")
        if code == 0 or (run.searching and not self._stopping):
            return self._reached_its_end(run, code)
        if self._stopping:
            return TrialEnd("stopped")
        if run.lacks_space():
            raise TrainingError(f"{self._settings.folder}: the disk is full: free some space, and go on; no trial has failed")
        by = _signal_of(code)
        if run.pruning and by == signal.SIGTERM:
            self._record({"state": "pruned", **run.figures()}, self._runs)
            self._tell(TrialState.PRUNED)
            return TrialEnd("pruned", f"after step {run.last} of the run with seed {self.seed}")
        if by is not None:
            return self._go_on_after(run, by)
        reason = of_sweep(run.last_line(), self.params) or f"the training ended with exit code {code}"
        if code == _BAD_INPUT and not is_crash(reason):
            return TrialEnd("refused", reason)
        return self.fail(reason, diverged=run.diverged())

    def _go_on_after(self, run: SeedRun, by: signal.Signals) -> TrialEnd | None:
        """Continue a training that a signal ended, unless it saved nothing since the last time."""
        now = [self.seed, run.saved()]
        if now == self._killed:
            where = f"after its checkpoint of step {now[1]}" if now[1] else "before its first checkpoint"
            hint = ", as the system does when memory is short" if by == signal.SIGKILL else ""
            return self.fail(f"{by.name} ended the training twice {where}{hint}")
        self._set(KILLED, now)
        self._killed, self._run = now, None
        return None

    def _reached_its_end(self, run: SeedRun, code: int) -> TrialEnd | None:
        """After the training, and after the search of a length, which may fail."""
        space, figures = self._settings.space, run.figures()
        if figures["value"] is None:
            when = f"is not finite after step {run.last}" if run.last is not None else "was never measured"
            return self.fail(f"{space.monitor} {when}", diverged=run.last is not None)
        metric = space.monitor.partition("/")[2]
        if space.section.lengths and not run.searching:
            run.search_length(metric)
            return None
        lengths = [each.model_dump() for each in searched_lengths(run.output, metric)] if code == 0 else []
        if code != 0:
            self._remark = f"no length was found for seed {self.seed}: {run.last_line()}"
        self._runs = self._record({"state": "complete", LENGTHS: lengths, **figures}, self._runs)
        self._run = None
        return self._poll()

    def _complete(self) -> TrialEnd:
        from optuna.trial import TrialState

        self._tell(TrialState.COMPLETE, statistics.fmean(each["value"] for each in self._runs))
        return TrialEnd("complete", self._remark)

    def _record(self, ended: dict[str, Any], before: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write the ended run to the trial, after those `before`, and return all."""
        output = str(trial_folder(self._settings.folder, self.claim.number, self.seed))
        result = RunResult.model_validate({"seed": self.seed, "output": output, **ended})
        runs = [*before, {**result.model_dump(mode="json"), LENGTHS: ended.get(LENGTHS, [])}]
        self._set(RUNS, runs)
        return runs

    def _set(self, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self.claim.trial_id, name, value)

    def _tell(self, state: Any, value: float | None = None) -> None:
        self._trial.study.tell(self.claim.number, value, state=state, skip_if_finished=True)
        self.claim.lock.release()


def _signal_of(code: int) -> signal.Signals | None:
    """The signal that ended a process: by itself, or by the process's own choice, with the exit code of a shell."""
    number = -code if code < 0 else code - 128
    try:
        return signal.Signals(number)
    except ValueError:
        return None
