"""The rows of a comparison: the figures of one set of weights over runs, and the differences of two such rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ppema.experiments.comparison.compared_run import Evaluation
from ppema.experiments.comparison.paired_tests import PairedTest
from ppema.experiments.seed_statistics import mean_and_spread


@dataclass(frozen=True)
class Summary:
    """The values of a row's runs, in their order, with their mean and sample standard deviation.

    values: None where one is unknown or not finite. mean: None if one is; spread: None for a single run, too.
    """

    values: tuple[float | None, ...]
    mean: float | None
    spread: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Summary:
        kept = tuple(values)
        return cls(kept, *mean_and_spread(kept))


@dataclass(frozen=True)
class MeasuredRun:
    """One run in a row. name: its path; fold: of `data.split`; at: the evaluation whose figures count.

    reached: the first evaluation that reached the target; None without a target, and if none did.
    """

    name: str
    seed: int
    fold: int | None
    is_finished: bool
    at: Evaluation
    reached: Evaluation | None

    @property
    def repetition(self) -> tuple[int, int | None]:
        """What runs of two groups share if they are a pair."""
        return self.seed, self.fold


@dataclass(frozen=True)
class ComparedRow:
    """One set of weights of a group, over those of its runs that evaluated it."""

    group: str
    weights: str
    runs: tuple[MeasuredRun, ...]

    def figure(self, metric: str) -> Summary:
        """`metric` of the runs."""
        return Summary.of(run.at.figures.get(metric) for run in self.runs)

    @property
    def steps(self) -> Summary:
        """The steps after which the figures were measured."""
        return Summary.of(run.at.step for run in self.runs)

    @property
    def reaching(self) -> tuple[MeasuredRun, ...]:
        """The runs that reached the target."""
        return tuple(run for run in self.runs if run.reached is not None)

    @property
    def steps_to_target(self) -> Summary:
        """The steps of training until the target, of the runs that reached it."""
        return Summary.of(run.reached.step for run in self.runs if run.reached is not None)

    @property
    def seconds_to_target(self) -> Summary:
        """The seconds of training until the target, without evaluation and saving, of the runs that reached it."""
        return Summary.of(run.reached.seconds for run in self.runs if run.reached is not None)


@dataclass(frozen=True)
class Contrast:
    """A paired difference of the first metric between two rows: `row` minus `before`.

    test: of the differences between runs of the same seed and fold; adjusted: its p, adjusted by Holm for all contrasts.
    """

    row: ComparedRow
    before: ComparedRow
    test: PairedTest
    adjusted: float | None = None

    @property
    def words(self) -> str:
        """Which difference it is: "ema - raw, in a", or "b - a, ema"."""
        row, before = self.row, self.before
        if row.group == before.group:
            return f"{row.weights} - {before.weights}, {row.group}"
        return f"{row.group} - {before.group}, {row.weights}"
