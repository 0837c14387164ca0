"""BatchNorm statistics of given weights, measured on batches of data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppema.averaging.moments import Moments
from ppema.errors import AverageError, NotFiniteError
from ppema.ir import Program, backend, scope
from ppema.passes.average import read_shadows
from ppema.passes.trained import is_trained

Feed = Mapping[str, np.ndarray]
BatchNormNames = tuple[str, str]  # of its mean and its variance


@dataclass(frozen=True)
class BatchStatistics:
    """What one batch measured.

    seen: mean, variance and number of values of each BatchNorm that it reached; the number is 1 if all batches are of one size.
    culprit: the name of a non-finite statistic, for which the batch is left out; "" without one.
    """

    seen: Mapping[BatchNormNames, tuple[np.ndarray, np.ndarray, int]]
    culprit: str = ""


# Turns the batches that this process measures, in order, into those that all processes measured, in order.
Exchange = Callable[[Iterable[BatchStatistics]], Iterable[BatchStatistics]]


def own_alone(batches: Iterable[BatchStatistics]) -> Iterable[BatchStatistics]:
    """The Exchange of one process."""
    return batches


@dataclass(frozen=True)
class Recalibration:
    """A program that measures the BatchNorm statistics of a set of weights.

    program: a test program of those weights, except that BatchNorm normalises by the batch and writes the batch's mean and
    variance into its statistics.
    statistics: names of the variables (mean, variance) of each BatchNorm in it. counts: by mean, the variable of the number of
    values that its BatchNorm normalises; empty if batches of different sizes are refused.
    """

    program: Program
    statistics: tuple[tuple[str, str], ...]
    counts: Mapping[str, str] = field(default_factory=dict)

    def measure(
        self,
        where: Any,
        feeds: Iterable[Feed],
        run: Callable[[Program, Feed], object],
        leave_out: Callable[[str], None] | None = None,
        exchange: Exchange = own_alone,
    ) -> int:
        """Set the statistics in the scope `where` to the mean and variance over all batches together.

        feeds: batches as `run` takes them; each counts by its number of values. Without `counts` they are of one size.
        run: runs a program in that scope.
        leave_out: receives the name of a non-finite statistic right after its batch; the batch then counts for no BatchNorm.
        None: such a batch is an error.
        exchange: with the other processes. Statistics are merged batch by batch in order, so that they have the same bits for
        any number of processes.

        Returns the number of batches that reached a BatchNorm. A batch with a single value per channel has no variance and
        reaches none. A BatchNorm that no batch reaches, such as one in a branch never taken, keeps its statistics. The
        variances are divided by the number of values, as Paddle's running variances are on a CPU.

        Raises AverageError for a batch of zero size, and without `counts` for different sizes. Raises NotFiniteError for a
        non-finite statistic without `leave_out`, and if every batch was left out. The statistics are then as before.
        """
        before = {name: scope.get(where, name) for pair in self.statistics for name in pair}
        found, values, bad = {pair: Moments() for pair in self.statistics}, before, ""
        for name in self.counts.values():
            scope.create(where, name, np.zeros([], np.int64))
        try:
            for batch in exchange(self._batches(where, feeds, run, leave_out, before)):
                bad = bad or batch.culprit
                for pair, (mean, variance, count) in batch.seen.items():
                    found[pair].add(mean, variance, count)
            if bad and not any(moments.batches for moments in found.values()):
                raise _not_finite_error(bad)
            values = {**before, **_measured(found, before)}
        finally:
            scope.put(where, values)
        return max((moments.batches for moments in found.values()), default=0)

    def _batches(
        self,
        where: Any,
        feeds: Iterable[Feed],
        run: Callable[[Program, Feed], object],
        leave_out: Callable[[str], None] | None,
        before: Mapping[str, np.ndarray],
    ) -> Iterator[BatchStatistics]:
        untouched = {variance: np.full_like(before[variance], -1) for _, variance in self.statistics}
        shapes = None
        for feed in feeds:
            shapes = _same_shapes(feed, None if self.counts else shapes)
            scope.put(where, untouched)
            run(self.program, feed)
            seen = _seen(where, self.statistics)
            if leave_out is not None and (culprit := _not_finite(seen)):
                leave_out(culprit)
                scope.put(where, before)  # the next batch multiplies the old value by 0, and NaN stays NaN
                yield BatchStatistics({}, culprit)
                continue
            counts = {pair: scope.get(where, self.counts[pair[0]]).item() if self.counts else 1 for pair in seen}
            yield BatchStatistics({pair: (*both, counts[pair]) for pair, both in seen.items()})


def _seen(where: Any, statistics: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of the last batch for each BatchNorm that it reached, by the names of the two."""
    found = {(mean, variance): (scope.get(where, mean), scope.get(where, variance)) for mean, variance in statistics}
    return {names: values for names, values in found.items() if not (values[1] == -1).all()}


def _not_finite(seen: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]) -> str:
    """The name of the first non-finite statistic; "" if all are finite."""
    for names, values in seen.items():
        for name, value in zip(names, values, strict=True):
            if not np.isfinite(value).all():
                return name
    return ""


def _not_finite_error(name: str) -> NotFiniteError:
    return NotFiniteError(f"recalibrate: {name} is not finite: look for bad values in the batches or in the weights")


def _same_shapes(feed: Feed, shapes: Mapping[str, tuple[int, ...]] | None) -> dict[str, tuple[int, ...]]:
    """The shapes of the fed arrays, by name. Raises AverageError for an empty batch, and for other shapes than `shapes`.

    shapes: those of the batch before; None if any will do.
    """
    now = {name: np.asarray(value).shape for name, value in feed.items()}
    for name, shape in now.items():
        if 0 in shape:
            raise AverageError(f"recalibrate: a batch is empty: {name} is {list(shape)}")
        if (shapes or now).get(name) != shape:
            raise AverageError(f"recalibrate: batches must be of one size: {name} is {list(shape)}")
    return now


def _measured(found: Mapping[tuple[str, str], Moments], before: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The measured statistics by name, in the types of `before`. Raises NotFiniteError if one is not finite."""
    measured = {}
    for (mean, variance), moments in found.items():
        if moments.batches:
            measured |= {mean: moments.mean, variance: moments.variance}
    for name, value in measured.items():
        if not np.isfinite(value).all():
            raise _not_finite_error(name)
    return {name: value.astype(before[name].dtype) for name, value in measured.items()}


def moving_statistics(train: Program) -> set[str]:
    """The names of the BatchNorm statistics that the program `train` updates."""
    ir = backend()
    fixed = {parameter.name for parameter in ir.parameters(train) if not parameter.trainable}
    return {name for op in ir.operations(train) if "batch_norm" in op.kind for name in op.writes if name in fixed}


def recalibration(
    test: Program, statistics: Iterable[str], held: Mapping[str, str] | None = None, *, counted: bool = False
) -> Recalibration:
    """The recalibration of the weights that `test` evaluates, or of others in their place.

    test: a test program, which reads variables under their own names. It is copied, not changed.
    statistics: names of the statistics to measure, in `test`.
    held: by variable's name in `test`, the variable that holds the weight to recalibrate. None: the weights of `test` itself.
    counted: whether batches may differ in size. The program then counts the values of each BatchNorm.

    Raises AverageError if `test` trains, and if two BatchNorm operations share a statistic, since their batches would mix.
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
                "batch_norm: average or copy (post hoc: recalibrate_batches: 0)"
            )
    counts = {mean: f"{held.get(mean, mean)}.values" for mean in means if counted}
    backend().count_values(program, counts)
    read_shadows(backend(), program, held)
    return Recalibration(
        program,
        tuple((held.get(mean, mean), held.get(variance, variance)) for mean, variance in pairs),
        {held.get(mean, mean): count for mean, count in counts.items()},
    )
