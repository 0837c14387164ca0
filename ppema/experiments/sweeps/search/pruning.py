"""When a run of a sweep ends early: it is worse than the median of complete trials that were equally far."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import TrialState

from ppema.config import Config
from ppema.config.horizon import Horizon

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna.study import Study
    from optuna.trial import FrozenTrial

# The points of a run: point 25 of the first run of a trial is a quarter of it, point 125 that of the second run.
POINTS = 100
# With fewer complete trials to compare with, no run is pruned.
LEAST_TRIALS = 5


def point_of(run: int, share: float) -> int:
    """The point at the `share` of the run with index `run` in its trial, rounded to hundredths: an integer from 1 on.

    Trials with other batch sizes or lengths have other steps, and are comparable at points. A run that stops early has fewer
    of them, and those of the next run stay where they are.
    """
    return POINTS * run + min(max(round(POINTS * share), 1), POINTS)


def share_of(config: Config, step: int, steps_per_epoch: float) -> float:
    """The share of a run of `config` that is trained after `step`."""
    train = config.train
    total = train.steps or (train.epochs or 1) * steps_per_epoch
    if train.stop_after is not None:
        samples = config.data.train.batch_size * train.accumulate
        horizon = Horizon(max(1, round(steps_per_epoch)), samples, train.epochs, train.steps)
        total = min(total, horizon.steps(train.stop_after))
    return step / total if total else 0.0


class MedianAtShare(BasePruner):
    """Prunes a trial whose last value is worse than the median of complete trials at the same point.

    A complete trial counts with its last value at or before the point, in the run with the same index. Optuna's own median
    pruner compares equal steps only, and the best value so far.

    after: the share of each run before which it is not pruned; runs: of each trial. The end of the last run prunes nothing.
    """

    def __init__(self, after: float, runs: int):
        self._after = after
        self._runs = runs

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        point = trial.last_step
        if point is None or not self._due(point):
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        others = [value for each in complete if (value := _value_at(each.intermediate_values, point)) is not None]
        if len(others) < LEAST_TRIALS:
            return False
        value, median = trial.intermediate_values[point], statistics.median(others)
        return value < median if study.direction == StudyDirection.MAXIMIZE else value > median

    def _due(self, point: int) -> bool:
        within = (point - 1) % POINTS + 1
        return within >= POINTS * self._after and point < POINTS * self._runs


def _value_at(values: Mapping[int, float], point: int) -> float | None:
    """The last of `values` at or before `point` in the same run; None if there is none."""
    begin = (point - 1) // POINTS * POINTS
    found = [each for each in values if begin < each <= point]
    return values[max(found)] if found else None
