"""One run of a trial in training, and how far it is. Nothing of it remains for the trial's next run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppema.checkpoint.folder import step_folders, step_of
from ppema.config import load_config
from ppema.config.differing import differences
from ppema.errors import PpemaError, SetupError, listed
from ppema.experiments.sweeps.metric_tail import MetricTail
from ppema.experiments.sweeps.search.space import Space, override
from ppema.experiments.sweeps.sweep_folder import trial_folder
from ppema.experiments.sweeps.trial_process import TrialProcess, length_search, training
from ppema.log.history import Ended, read_history
from ppema.log.run import run

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


class SeedRun:
    """The run of a trial with one seed: its training, and after it the search of a length.

    last: the step of its last evaluation, None before the first; waiting: evaluations that are not reported yet, each a step
    and a value; searching: whether it is at the search of a length; pruning: whether it was stopped as worse than others.
    """

    def __init__(self, settings: Settings, params: Mapping[str, Any], number: int, seed: int, lock: int):
        """Start the run of trial `number`, or continue it. lock: a handle that its process inherits.

        Raises PpemaError if the config changed since the sweep began; TrainingError if the process can not be started.
        """
        space = settings.space
        _check_unchanged(space)
        self.seed, self.output = seed, trial_folder(settings.folder, number, seed)
        self._space, self._lock = space, lock
        self._overrides = [*space.overrides(params), override("seed", seed), override("output", str(self.output))]
        if settings.threads is not None:
            self._overrides.append(override("runtime.threads", _threads(self.output, settings.threads)))
        self._config = load_config(space.path, self._overrides)
        self._tail = MetricTail(self.output, space.monitor)
        self.last: int | None = None
        self._value: float | None = None
        self._best: tuple[int, float] | None = None
        self.waiting: list[tuple[int, float | None]] = []
        self.searching = self.pruning = False
        self._process = TrialProcess(training(settings.launcher, space.path, self._overrides), self.output, lock)

    def ended(self) -> int | None:
        """The exit code of its process, -N after signal N; None while it runs. Adds new evaluations to `waiting`."""
        code = self._process.ended()
        self.waiting += self._tail.new()
        return code

    def training(self) -> bool:
        """Whether its process runs."""
        return self._process.ended() is None

    def stop(self) -> None:
        """Let its process save and end."""
        self._process.stop()

    def prune(self) -> None:
        """Let it save and end, because it is worse than others."""
        self.pruning = True
        self.stop()

    def compared(self, step: int, value: float | None) -> float | None:
        """Note an evaluation. Returns the value by which the run is then compared, None for one that is not finite."""
        self.last, self._value = step, value
        if value is None:
            return None
        sign = 1 if self._space.mode == "max" else -1
        if self._best is None or sign * value > sign * self._best[1]:
            self._best = step, value
        return self._best[1] if self._space.section.objective == "best" else value

    def share(self, step: int) -> float:
        """The share of the run that is trained after `step`."""
        from ppema.experiments.sweeps.search.pruning import share_of

        return share_of(self._config, step, self._tail.steps_per_epoch)

    def figures(self) -> dict[str, Any]:
        """The value of the run, and its step."""
        if self._space.section.objective == "best":
            step, value = self._best or (self.last, None)
            return {"value": value, "step": step}
        return {"value": self._value, "step": self.last}

    def search_length(self, metric: str) -> None:
        """Start the search of the best length by `metric`, after the training. Raises TrainingError."""
        self._process = TrialProcess(length_search(self._space.path, self._overrides, metric), self.output, self._lock)
        self.searching = True

    def saved(self) -> int:
        """The step of its newest checkpoint; 0 without one. Raises CheckpointError if the folder can not be read."""
        found = step_folders(self.output / "checkpoints")
        return step_of(found[-1]) if found else 0

    def diverged(self) -> bool:
        """Whether its last training ended because it diverged."""
        try:
            last = read_history(self.output)[-1:]
        except SetupError:
            return False
        return any(isinstance(each, Ended) and each.diverged for each in last)

    def lacks_space(self) -> bool:
        """Whether its disk is full."""
        try:
            return shutil.disk_usage(self.output).free < LEAST_SPACE
        except OSError:  # The folder is gone, which is another failure.
            return False

    def last_line(self) -> str:
        """The last line of its process's output; "" without one."""
        return self._process.last_line()


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
