"""BatchNorm statistics that belong to given weights: measured on batches of data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppema.averaging.moments import Moments
from ppema.errors import AverageError
from ppema.ir import Program, backend, scope
from ppema.passes.average import read_shadows
from ppema.trained import is_trained

Feed = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Recalibration:
    """How a set of weights gets its statistics.

    program: a test program of those weights but for BatchNorm, which normalises by the batch and leaves the batch's own mean
    and variance in its statistics; statistics: the names of the variables (mean, variance) of each BatchNorm in it.
    """

    program: Program
    statistics: tuple[tuple[str, str], ...]

    def measure(self, where: Any, feeds: Iterable[Feed], run: Callable[[Program, Feed], object]) -> int:
        """Set the statistics in the scope `where` to the mean and variance over equal batches, taken together.

        run: runs a program in that scope. A BatchNorm that no batch reaches, in a branch never taken, keeps what it has.
        The variances are what Paddle's running ones tend to: divided by the number of values, on a CPU. Returns the number of
        batches that reached a BatchNorm; one with a single value per channel has no variance and reaches none.

        Raises AverageError for batches of several sizes, or none, and statistics that are not finite: all is then as it was.
        """
        before = {name: scope.get(where, name) for pair in self.statistics for name in pair}
        found = {pair: Moments() for pair in self.statistics}
        untouched = {variance: np.full_like(before[variance], -1) for _, variance in self.statistics}
        values, shapes = before, None
        try:
            for feed in feeds:
                shapes = _same_shapes(feed, shapes)
                scope.put(where, untouched)
                run(self.program, feed)
                for (mean, variance), moments in found.items():
                    seen = scope.get(where, variance)
                    if not (seen == -1).all():
                        moments.add(scope.get(where, mean), seen)
            values = {**before, **_measured(found, before)}
        finally:
            scope.put(where, values)
        return max((moments.batches for moments in found.values()), default=0)


def _same_shapes(feed: Feed, shapes: Mapping[str, tuple[int, ...]] | None) -> dict[str, tuple[int, ...]]:
    """The shapes of what is fed, by name. Raises AverageError where they are not `shapes`, of the batch before, or empty."""
    now = {name: np.asarray(value).shape for name, value in feed.items()}
    for name, shape in now.items():
        if 0 in shape or (shapes or now).get(name) != shape:
            raise AverageError(f"recalibrate: batches must be of one size, and not empty: {name} is {list(shape)}")
    return now


def _measured(found: Mapping[tuple[str, str], Moments], before: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The statistics that were measured, by their names, in the types that they had. Raises AverageError."""
    measured = {}
    for (mean, variance), moments in found.items():
        if moments.batches:
            measured |= {mean: moments.mean, variance: moments.variance}
    for name, value in measured.items():
        if not np.isfinite(value).all():
            raise AverageError(f"recalibrate: {name} is not finite: look for bad values in the batches or in the weights")
    return {name: value.astype(before[name].dtype) for name, value in measured.items()}


def moving_statistics(train: Program) -> set[str]:
    """The names of the BatchNorm statistics that the program `train` moves."""
    ir = backend()
    fixed = {parameter.name for parameter in ir.parameters(train) if not parameter.trainable}
    return {name for op in ir.operations(train) if "batch_norm" in op.kind for name in op.writes if name in fixed}


def recalibration(test: Program, statistics: Iterable[str], held: Mapping[str, str] | None = None) -> Recalibration:
    """The recalibration of weights that `test` evaluates, or would.

    test: a test program that reads the variables under their own names; statistics: of these, those to measure; held: where
    the weights are, by variable's name, unless they are under these names. Raises AverageError where `test` trains, and where a
    statistic is used by two BatchNorm operations, whose batches could not be told apart.
    """
    if is_trained(test):
        raise AverageError("the program updates its weights: recalibrate with a test program, such as clone_for_test makes")
    held = held or {}
    program, _ = backend().clone(test, [])
    pairs = backend().observe_statistics(program, set(statistics))
    means = [mean for mean, _ in pairs]
    for name in means:
        if means.count(name) > 1:
            raise AverageError(
                f"{name} is used by {means.count(name)} BatchNorm operations, so it can not be recalibrated: choose "
                "batch_norm: average or copy (or tools/average.py --recalibrate-batches 0)"
            )
    read_shadows(backend(), program, held)
    return Recalibration(program, tuple((held.get(mean, mean), held.get(variance, variance)) for mean, variance in pairs))
