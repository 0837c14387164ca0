"""Measures candidate weights one by one, and keeps the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ppema.config import RAW
from ppema.errors import CheckpointError, NotFiniteError
from ppema.evaluation.evaluate import Watch, numbers, unwatched
from ppema.evaluation.prepared import EvaluationRun
from ppema.log.figure_texts import figure
from ppema.posthoc.combine import Built
from ppema.weights.put import put_fitted

_FAR = 1.0  # the relative profile error of the zero profile


@dataclass(frozen=True)
class Row:
    """The result of one candidate.

    name: in words; length: σ_rel or half-life in steps, None for a mean of checkpoints; metrics: the figures over data.eval
    that are numbers; error: of its profile, as in `Built`; parts: the number of its snapshots or checkpoints.
    """

    name: str
    length: float | None
    metrics: dict[str, float]
    error: float | None
    parts: int


@dataclass(frozen=True)
class Measured:
    """A row and its weights. arrays: the measured weights by the variables' names; what: a description of them."""

    row: Row
    arrays: dict[str, np.ndarray]
    what: str


class Bench:
    """Measures candidates over data.eval. Keeps a row of each, and the best one.

    A candidate whose profile is far off is listed, but cannot win.

    step: of the candidates; statistics that are still frozen there keep their values. metric: decides about the best; less:
    whether a smaller value of it is better; batches: the number of training batches for the recalibration of BatchNorm, 0 to
    keep the statistics as built; say: receives a line for each row; watch: the progress of each row. Raises DataError
    for unusable training data, and ConfigError if the model can not be recalibrated.
    """

    def __init__(
        self,
        run: EvaluationRun,
        step: int,
        *,
        metric: str,
        less: bool,
        batches: int,
        say: Callable[[str], None],
        watch: Watch = unwatched,
    ):
        self._run = run
        self._statistics = run.statistics(step)
        self._recalibrator = run.recalibrator(batches, step) if batches and self._statistics else None
        self._say, self._watch = say, watch
        self.metric = metric
        self.less = less
        self.rows: list[Row] = []
        self.best: Measured | None = None

    @property
    def replaced(self) -> set[str]:
        """The names of the BatchNorm statistics that are recalibrated for each candidate."""
        return self._statistics if self._recalibrator is not None else set()

    def close(self) -> None:
        """Close the loader of the training data."""
        if self._recalibrator is not None:
            self._recalibrator.close()

    def measure(self, name: str, length: float | None, built: Built) -> Measured:
        """Measure `built` in the run's scope, which must be the current one. name, length: of the row.

        Raises CheckpointError if the weights do not fit the model, or lack averaged statistics without a recalibration.
        """
        run, what = self._run, built.what
        put_fitted(run.scope, built.source, built.arrays, run.model.parameters)
        finite = True
        if self._recalibrator is not None:
            self._watch(f"recalibrating {name}", 0, None)
            try:
                what += f", BatchNorm recalibrated on {self._recalibrator.measure(RAW)} batches"
            except NotFiniteError:
                finite = False  # the metrics of such weights would be NaN too
        elif not built.left.isdisjoint(self._statistics):
            raise CheckpointError(
                f"{built.source}: its averages do not cover BatchNorm's statistics, and the raw model's are not theirs: "
                "recalibrate on 1 batch or more"
            )
        if finite:
            watch = partial(self._watch, f"evaluating {name}")
            metrics = numbers(run.evaluate(watch))
        else:
            metrics = dict.fromkeys(run.figures.numbers, math.nan)
        row = Row(name, length, metrics, built.error, built.parts)
        self.rows.append(row)
        self._say(f"{name}  " + "  ".join(f"{each} {figure(value)}" for each, value in metrics.items()) + _doubt(row))
        measured = Measured(row, run.read(), what)
        if math.isfinite(self.cost(row)[0]) and (self.best is None or self.cost(row) < self.cost(self.best.row)):
            self.best = measured
        return measured

    def cost(self, row: Row) -> tuple[float, float]:
        """The cost of a candidate: the deciding metric with the sign that makes less better, then the loss for equal ones.

        Infinite for a metric that is NaN, and for a profile that is far off.
        """
        value, loss = row.metrics[self.metric], row.metrics.get("loss", 0.0)
        return (math.inf, math.inf) if math.isnan(value) or far_off(row.error) else (value if self.less else -value, loss)


def far_off(error: float | None) -> bool:
    """Whether a profile of this error is no approximation: the zero profile would be nearer to the wanted one."""
    return error is not None and not error <= _FAR


def _doubt(row: Row) -> str:
    return f"  (profile error {row.error:.2f}: the snapshots can not make this average)" if far_off(row.error) else ""
