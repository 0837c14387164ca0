"""One trial in training: a run for each seed, watched through its records. Runs count in the order of their seeds."""

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
# win; KILLED: by seed, the newest saved step of the last training that was ended by a signal; ERROR: why it failed.
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
        self._killed: dict[str, int] = attributes.get(KILLED, {})
        self._runs: list[dict[str, Any]] = [each for each in attributes.get(RUNS, []) if each["state"] == "complete"]
        self._reported = set(storage.get_trial(claim.trial_id).intermediate_values)
        self._begun: dict[int, SeedRun] = {}  # by seed: those that are not recorded as ended
        self._ending: TrialEnd | None = None
        self._stopping = self._lost = False
        self._remark = ""

    @property
    def _present(self) -> int:
        """The seed of the present run. Later ones may be in training; they are looked at when it has ended."""
        seeds = self._settings.space.seeds
        return seeds[min(len(self._runs), len(seeds) - 1)]

    @property
    def places(self) -> int:
        """How many of the sweep's jobs it takes: one for the present run, and one for each later one in training."""
        return 1 + sum(run.training() for seed, run in self._begun.items() if seed != self._present)

    def shown(self) -> list[str]:
        """The runs in training, in words."""
        trial, run = f"trial {self.claim.number} seed", self._begun.get(self._present)
        later = [seed for seed, each in self._begun.items() if each is not run and each.training()]
        return [f"{trial} {self._present} step {(run and run.last) or 0}", *(f"{trial} {seed}" for seed in later)]

    def begin_another(self) -> bool:
        """Start the run of a further seed beside those in training. Returns whether there was one.

        With pruning there is none: the next seed is trained only if the present run is not pruned.
        """
        left = [seed for seed in self._settings.space.seeds[len(self._runs) :] if seed not in self._begun]
        if not left or self._stopping or self._settings.space.section.prune:
            return False
        self._begin(left[0])
        return True

    def poll(self) -> TrialEnd | None:
        """Report evaluations, and start the next run when one has ended. None until no training of the trial runs any more.

        Raises PpemaError if the config changed since the sweep began; TrainingError for a full disk, and for a folder that can
        not be used; errors of the storage.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            self._ending = self._ending or self._poll()
        except UpdateFinishedTrialError:  # by another machine, which took the trial over
            self._lost = True
            self._ending = TrialEnd("lost")
        if self._ending is not None:
            self.stop()
        return None if self.training() else self._ending

    def _poll(self) -> TrialEnd | None:
        if not self._lost and not self._claims.keep(self.claim):
            self._lost = True
            self.stop()
        run = self._begun.get(self._present)
        if run is not None:
            code = run.ended()
            self._report(run)
            return None if code is None else self._ended(run, code)
        if self._is_lost():
            return TrialEnd("lost")
        if len(self._runs) == len(self._settings.space.seeds):
            return self._complete()
        if self._stopping:
            return self._stopped()
        self._begin(self._present)
        return None

    def stop(self) -> None:
        """Let the trainings save and end; no further run starts. Later calls do nothing: a second signal would not let them."""
        for run in self._begun.values() if not self._stopping else ():
            run.stop()
        self._stopping = True

    def training(self) -> bool:
        """Whether a training runs."""
        return any(run.training() for run in self._begun.values())

    def _begin(self, seed: int) -> None:
        self._begun[seed] = SeedRun(self._settings, self.params, self.claim.number, seed, self.claim.lock.handle)

    def _stopped(self) -> TrialEnd | None:
        """Until all trainings have ended, the claim is kept."""
        return None if self.training() else TrialEnd("stopped")

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
            return self._stopped()
        if run.lacks_space():
            raise TrainingError(f"{self._settings.folder}: the disk is full: free some space, and go on; no trial has failed")
        by = _signal_of(code)
        if run.pruning and by == signal.SIGTERM:
            self._record({"state": "pruned", **run.figures()}, self._runs)
            self._tell(TrialState.PRUNED)
            return TrialEnd("pruned", f"after step {run.last} of the run with seed {run.seed}")
        if by is not None:
            return self._go_on_after(run, by)
        reason = of_sweep(run.last_line(), self.params) or f"the training ended with exit code {code}"
        if code == _BAD_INPUT and not is_crash(reason):
            return TrialEnd("refused", reason)
        return self.fail(reason, diverged=run.diverged())

    def _go_on_after(self, run: SeedRun, by: signal.Signals) -> TrialEnd | None:
        """Continue a training that a signal ended, unless it saved nothing since the last time."""
        seed, saved = str(run.seed), run.saved()  # JSON's keys are strings
        if self._killed.get(seed) == saved:
            where = f"after its checkpoint of step {saved}" if saved else "before its first checkpoint"
            hint = ", as the system does when memory is short" if by == signal.SIGKILL else ""
            return self.fail(f"{by.name} ended the training twice {where}{hint}")
        killed = {**self._killed, seed: saved}
        self._set(KILLED, killed)
        self._killed = killed
        del self._begun[run.seed]
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
            self._remark = f"no length was found for seed {run.seed}: {run.last_line()}"
        self._runs = self._record({"state": "complete", LENGTHS: lengths, **figures}, self._runs)
        del self._begun[run.seed]
        return self._poll()

    def _complete(self) -> TrialEnd:
        from optuna.trial import TrialState

        self._tell(TrialState.COMPLETE, statistics.fmean(each["value"] for each in self._runs))
        return TrialEnd("complete", self._remark)

    def _record(self, ended: dict[str, Any], before: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write the ended run to the trial, after those `before`, and return all."""
        seed = self._settings.space.seeds[len(before)]
        output = str(trial_folder(self._settings.folder, self.claim.number, seed))
        result = RunResult.model_validate({"seed": seed, "output": output, **ended})
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
