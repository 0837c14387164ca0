"""The events of a run, and when each is due."""

from __future__ import annotations

from ppema.checkpoint.state import Every, State
from ppema.training.setup import TrainingRun


class Due:
    """The events of a run: log, evaluate, save, take snapshots. last: the step after which this process ends."""

    def __init__(self, run: TrainingRun, begin: State, *, stopped: bool):
        """begin: the state in which the process begins; stopped: whether the run has ended there."""
        train, steps = run.config.train, run.horizon.steps
        self.last = run.horizon.total_steps
        if train.stop_after is not None:
            self.last = min(self.last, steps(train.stop_after))
        if stopped:
            self.last = min(self.last, begin.step)
        self.log = Every(steps(train.log_every), self.last)
        self.evaluate = Every(steps(train.eval_every), self.last)
        self.save = Every(steps(train.save_every), self.last)
        self.snapshot = None if train.snapshot_every is None else Every(steps(train.snapshot_every), self.last)
        self._intervals = [each.steps for each in (self.log, self.evaluate, self.save, self.snapshot) if each]

    def any(self, state: State) -> bool:
        """Whether any event is due after the step that led to `state`."""
        return state.step == self.last or any(state.step % steps == 0 for steps in self._intervals)
