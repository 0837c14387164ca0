"""One trial in training: a run for each seed, one after the other, watched through its records."""

from __future__ import annotations

import shutil
import signal
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ppema.config import load_config
from ppema.config.differing import differences
from ppema.errors import PpemaError, SetupError, TrainingError, listed
from ppema.experiments.sweeps.metric_tail import MetricTail
from ppema.experiments.sweeps.search.best_length import searched_lengths
from ppema.experiments.sweeps.search.space import Space, override
from ppema.experiments.sweeps.shared.claims import Claim, Claims
from ppema.experiments.sweeps.sweep_folder import RunResult, trial_folder
from ppema.experiments.sweeps.trial_process import TrialProcess, is_crash, length_search, of_sweep, training
from ppema.log.history import Ended, read_history
from ppema.log.run import run

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import Trial

# Attributes of a trial in the storage. RUNS: its ended runs, each a RunResult with LENGTHS, the lengths of an average that can
# win; KILLED: the seed and the last evaluated step of the last training that was ended by a signal; ERROR: why it failed.
RUNS, LENGTHS, KILLED, ERROR = "runs", "lengths", "killed", "error"
_BAD_INPUT = 2  # exit code
LEAST_SPACE = 2**20  # bytes; with less, a training fails because of the disk


@dataclass(frozen=True)
class Settings:
    """What all trials of a sweep share.

    folder: of the sweep; launcher: the command that trains; threads: for each training, None if the config names a number.
    """

    space: Space
    folder: Path
    launcher: Sequence[str]
    threads: int | None


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended. refused: the training refused its input; stopped: with the sweep; lost: to another machine."""

    state: Literal["complete", "pruned", "failed", "refused", "stopped", "lost"]
    reason: str = ""


class TrialRuns:
    """The runs of a claimed trial. Every method may be called again after an error of the storage."""

    def __init__(
        self, settings: Settings, trial: Trial, params: dict[str, Any], claim: Claim, claims: Claims, storage: BaseStorage
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
        self._process: TrialProcess | None = None
        self._waiting: list[tuple[int, float | None]] = []  # evaluations that are not reported yet
        self._pruning = self._stopping = self._lost = self._searching = False
        self._remark = ""

    @property
    def step(self) -> int | None:
        """The step of the last evaluation of the present run; None before the first."""
        return None if self._process is None else self._last

    @property
    def seed(self) -> int:
        """The seed of the present run."""
        seeds = self._settings.space.seeds
        return seeds[min(len(self._runs), len(seeds) - 1)]

    def poll(self) -> TrialEnd | None:
        """Report evaluations, and start the next run when one has ended. None while the trial goes on.

        Raises PpemaError if the config changed since the sweep began; TrainingError for a full disk; OSError, and errors of
        the storage.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            return self._poll()
        except UpdateFinishedTrialError:  # by another machine, which took the trial over
            self._lost = True
            self.stop()
            return TrialEnd("lost") if self._process is None or self._process.ended() is not None else None

    def _poll(self) -> TrialEnd | None:
        if not self._lost and not self._claims.keep(self.claim):
            self._lost = True
            self.stop()
        if self._process is None:
            if self._lost:
                return TrialEnd("lost")
            if len(self._runs) == len(self._settings.space.seeds):
                return self._complete()
            if self._stopping:
                return TrialEnd("stopped")
            self._start()
            return None
        code = self._process.ended()
        self._report()
        return None if code is None else self._ended(self._process, code)

    def stop(self) -> None:
        """Let the training save and end; no further run starts."""
        self._stopping = True
        if self._process is not None:
            self._process.stop()

    def training(self) -> bool:
        """Whether a training runs."""
        return self._process is not None and self._process.ended() is None

    def fail(self, reason: str, *, diverged: bool = False) -> TrialEnd:
        """Record that the trial failed. diverged: whether its values are to blame."""
        from optuna.trial import TrialState

        self._record({"state": "failed"}, self._runs)
        self._set(ERROR, reason)
        # Optuna's TPE ignores a failed trial, and ranks a pruned one below all complete ones: it then avoids such values.
        self._tell(TrialState.PRUNED if diverged and self._settings.space.method == "tpe" else TrialState.FAIL)
        return TrialEnd("failed", reason)

    def _start(self) -> None:
        """Start the training of the next seed, or continue it."""
        space, number = self._settings.space, self.claim.number
        _check_unchanged(space)
        self._output = trial_folder(self._settings.folder, number, self.seed)
        self._overrides = [*space.overrides(self.params), override("seed", self.seed), override("output", str(self._output))]
        if self._settings.threads is not None:
            self._overrides.append(override("runtime.threads", _threads(self._output, self._settings.threads)))
        self._config = load_config(space.path, self._overrides)
        self._tail = MetricTail(self._output, space.monitor)
        self._last: int | None = None
        self._value: float | None = None
        self._best: tuple[int, float] | None = None
        self._waiting.clear()
        self._searching = False
        self._launch(training(self._settings.launcher, space.path, self._overrides))

    def _launch(self, command: Sequence[str]) -> None:
        self._process = TrialProcess(command, self._output, self.claim.lock.handle)

    def _report(self) -> None:
        """Report new evaluations to Optuna, and end the run if its pruner advises that."""
        from ppema.experiments.sweeps.search.pruning import point_of, share_of

        assert self._process is not None
        self._waiting += self._tail.new()
        space = self._settings.space
        fresh = False
        total = sum(each["value"] for each in self._runs)
        while self._waiting:
            step, value = self._waiting[0]
            self._last, self._value = step, value
            if value is not None:
                sign = 1 if space.mode == "max" else -1
                if self._best is None or sign * value > sign * self._best[1]:
                    self._best = step, value
                value = self._best[1] if space.section.objective == "best" else value
                point = point_of(len(self._runs), share_of(self._config, step, self._tail.steps_per_epoch))
                if point not in self._reported:
                    # The mean over the runs so far, so that a trial is compared with others after as many runs.
                    self._trial.report((total + value) / (len(self._runs) + 1), point)
                    self._reported.add(point)
                    fresh = True
            del self._waiting[0]
        if fresh and space.section.prune and not (self._pruning or self._stopping) and self._trial.should_prune():
            self._pruning = True
            self._process.stop()

    def _ended(self, process: TrialProcess, code: int) -> TrialEnd | None:
        """What follows from the end of a run: None for another run."""
        from optuna.trial import TrialState

        if code == 0 or (self._searching and not self._stopping):
            return self._reached_its_end(process, code)
        if self._lost:
            return TrialEnd("lost")
        if self._stopping:
            return TrialEnd("stopped")
        if shutil.disk_usage(self._output).free < LEAST_SPACE:
            raise TrainingError(f"{self._settings.folder}: the disk is full: free some space, and go on; no trial has failed")
        by = _signal_of(code)
        if self._pruning and by == signal.SIGTERM:
            self._record({"state": "pruned", **self._figures()}, self._runs)
            self._tell(TrialState.PRUNED)
            return TrialEnd("pruned", f"after step {self._last} of the run with seed {self.seed}")
        if by is not None:
            return self._go_on_after(by)
        reason = of_sweep(process.last_line(), self.params) or f"the training ended with exit code {code}"
        if code == _BAD_INPUT and not is_crash(reason):
            return TrialEnd("refused", reason)
        return self.fail(reason, diverged=_has_diverged(self._output))

    def _go_on_after(self, by: signal.Signals) -> TrialEnd | None:
        """Continue a training that a signal ended, unless it came no further than the last time."""
        now = [self.seed, self._last or 0]
        if now == self._killed:
            hint = ", as the system does when memory is short" if by == signal.SIGKILL else ""
            return self.fail(f"{by.name} ended the training twice after step {self._last or 0}{hint}")
        self._set(KILLED, now)
        self._killed, self._process = now, None
        return None

    def _reached_its_end(self, process: TrialProcess, code: int) -> TrialEnd | None:
        """After the training, and after the search of a length, which may fail."""
        space, figures = self._settings.space, self._figures()
        if figures["value"] is None:
            when = f"is not finite after step {self._last}" if self._last is not None else "was never measured"
            return self.fail(f"{space.monitor} {when}", diverged=self._last is not None)
        metric = space.monitor.partition("/")[2]
        if space.section.lengths and not self._searching:
            self._searching = True
            self._launch(length_search(space.path, self._overrides, metric))
            return None
        lengths = [each.model_dump() for each in searched_lengths(self._output, metric)] if code == 0 else []
        if code != 0:
            self._remark = f"no length was found for seed {self.seed}: {process.last_line()}"
        self._runs = self._record({"state": "complete", LENGTHS: lengths, **figures}, self._runs)
        self._process = None
        return self._poll()

    def _figures(self) -> dict[str, Any]:
        """The value of the present run, and its step."""
        if self._settings.space.section.objective == "best":
            step, value = self._best or (self._last, None)
            return {"value": value, "step": step}
        return {"value": self._value, "step": self._last}

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


def _has_diverged(output: Path) -> bool:
    """Whether the last training of the run in `output` ended because it diverged."""
    try:
        last = read_history(output)[-1:]
    except SetupError:
        return False
    return any(isinstance(each, Ended) and each.diverged for each in last)


def _threads(output: Path, default: int) -> int | str:
    """The number of threads of the run in `output`, which it keeps when it continues; `default` for a new run."""
    try:
        return run(output).config.runtime.threads
    except PpemaError:
        return default


def _check_unchanged(space: Space) -> None:
    """Raise PpemaError if the files of the config have another content than when the sweep began."""
    now, before = (each.model_dump(mode="json") for each in (load_config(space.path, space.base), space.config))
    if changed := differences(before, now, ("sweep",)):
        raise PpemaError(f"{space.path} has changed since the sweep began: {listed(changed)}: change it back, and go on")
