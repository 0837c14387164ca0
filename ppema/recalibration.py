"""BatchNorm statistics that belong to given weights: measured on batches of data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppema.averaging.moments import Moments
from ppema.errors import AverageError
from ppema.ir import Program, backend, scope
from ppema.passes.ema import read_shadows

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

        Returns their number.

        run: runs a program in that scope. A BatchNorm that no batch reaches, in a branch never taken, keeps what it has.
        The variances are what Paddle's running ones tend to: divided by the number of values, on a CPU.
        """
        before = {name: scope.get(where, name) for pair in self.statistics for name in pair}
        found = {pair: Moments() for pair in self.statistics}
        untouched = {variance: np.full_like(before[variance], -1) for _, variance in self.statistics}
        values, count = dict(before), 0
        try:
            for feed in feeds:
                scope.put(where, untouched)
                run(self.program, feed)
                count += 1
                for (mean, variance), moments in found.items():
                    seen = scope.get(where, variance)
                    if not (seen == -1).all():
                        moments.add(scope.get(where, mean), seen)
            for (mean, variance), moments in found.items():
                if moments.batches:
                    values[mean] = moments.mean.astype(before[mean].dtype)
                    values[variance] = moments.variance.astype(before[variance].dtype)
        finally:
            scope.put(where, values)
        return count


def moving_statistics(train: Program) -> set[str]:
    """The names of the BatchNorm statistics that the program `train` moves."""
    ir = backend()
    fixed = {parameter.name for parameter in ir.parameters(train) if not parameter.trainable}
    return {name for op in ir.operations(train) if "batch_norm" in op.kind for name in op.writes if name in fixed}


def recalibration(test: Program, statistics: Iterable[str], held: Mapping[str, str] | None = None) -> Recalibration:
    """The recalibration of weights that `test` evaluates, or would.

    test: a test program that reads the variables under their own names; statistics: of these, those to measure; held: where
    the weights are, by variable's name, unless they are under these names. Raises AverageError where a statistic is used by
    two BatchNorm operations, whose batches could not be told apart.
    """
    held = held or {}
    program, _ = backend().clone(test, [])
    pairs = backend().observe_statistics(program, set(statistics))
    means = [mean for mean, _ in pairs]
    for name in means:
        if means.count(name) > 1:
            raise AverageError(
                f"{name} is used by {means.count(name)} BatchNorm operations, so it can not be recalibrated: choose "
                "batch_norm: average or copy"
            )
    read_shadows(backend(), program, held)
    return Recalibration(program, tuple((held.get(mean, mean), held.get(variance, variance)) for mean, variance in pairs))
