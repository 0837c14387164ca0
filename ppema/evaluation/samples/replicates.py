"""The figures of an evaluation on resamples of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ppema.config import Config
from ppema.errors import PpemaError
from ppema.evaluation.samples.bootstrap import LEVEL, RESAMPLES, SampleInterval, drawn, interval, is_constant
from ppema.evaluation.samples.kept_samples import KeptSamples, MeasureSamples
from ppema.evaluation.samples.right_or_wrong import Discordant, bounds, discordant
from ppema.metrics import SHARES, Gathered, Gauge, Metric, SumOfMeans
from ppema.programs.eval_program import measure_results


@dataclass(frozen=True)
class Replicates:
    """Figures on resamples.

    samples: of which; each: by figure, [R]; without: why a figure has no interval, by figure. One that is the same in all
    resamples is in `each`: differences from it vary.
    """

    samples: KeptSamples
    each: dict[str, np.ndarray] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)

    def value(self, figure: str) -> float:
        """The figure of the whole set, as its evaluation gave it. Raises KeyError."""
        return self._measure(figure).figures[figure]

    def interval(self, figure: str) -> SampleInterval | None:
        """Its interval over the samples; None for one of `without`. An accuracy of 1 or 0 has that of Clopper and Pearson."""
        if figure in self.without:
            return None
        value = self.value(figure)
        if (found := interval(value, self.each[figure])) is not None:
            return found
        return SampleInterval(value, *bounds(self.samples.samples, value == 1, LEVEL))

    def is_all_or_none(self, figure: str) -> bool:
        """Whether it is an accuracy of exactly 1 or 0, which is the same in all resamples."""
        values = _shares(self._measure(figure))
        return values is not None and len(values) > 0 and values.min() == values.max() and values[0] in (0, 1)

    def answers(self, other: Replicates, figure: str) -> Discordant | None:
        """The samples that only these weights, or only `other`, get right. None for a figure of anything but right or wrong."""
        mine, theirs = (_shares(each._measure(figure)) for each in (self, other))
        if mine is None or theirs is None or not np.isin([mine, theirs], (0, 1)).all():
            return None
        return discordant(mine, theirs)

    def _measure(self, figure: str) -> MeasureSamples:
        return next(each for each in self.samples.measures.values() if figure in each.figures)


def replicates(config: Config, found: Sequence[KeptSamples], *, resamples: int = RESAMPLES, seed: int = 0) -> list[Replicates]:
    """The figures of each of `found` on the same `resamples` resamples. config: of their run.

    All of `found` must be on the same samples. Raises ConfigError for metrics that can not be built, and PpemaError for one
    whose result fails on a resample.
    """
    results = measure_results(config)
    made = [Replicates(each) for each in found]
    parts: list[dict[str, list[np.ndarray]]] = [{} for _ in found]
    width = max((_width(each) for samples in found for each in samples.measures.values()), default=1)
    for times in drawn(found[0].samples, resamples, seed, width=width):
        for samples, each in zip(found, parts, strict=True):
            for name, measure in samples.measures.items():
                if not measure.without and name in results:
                    for figure, values in _figures(name, results[name], measure, times).items():
                        each.setdefault(figure, []).append(values)
    for samples, part, each in zip(found, parts, made, strict=True):
        for name, measure in samples.measures.items():
            for figure in measure.figures or (name,):
                values = np.concatenate(part[figure]) if figure in part else None
                if why := measure.without or _unusable(figure, values):
                    each.without[figure] = why
                    continue
                assert values is not None
                each.each[figure] = values
                if is_constant(values) and not each.is_all_or_none(figure):
                    each.without[figure] = f"{figure} is the same in all resamples"
    return made


def _shares(measure: MeasureSamples) -> np.ndarray | None:
    """Of a metric that is a mean of shares, the share of each sample that is right, [N]. None for others, and with weights."""
    is_share = isinstance(measure.spec, dict) and measure.spec.get("name") in SHARES
    return measure.kept["values"] if is_share and measure.kept.keys() == {"values"} else None


def _unusable(figure: str, values: np.ndarray | None) -> str:
    """Why a figure has no resamples; "" if it has them."""
    if values is None:
        return f"{figure} is not among the metrics of the config"
    undefined = int(np.isnan(values).sum())
    if undefined:
        return f"{figure} is undefined in {undefined} of {len(values)} resamples"
    return "" if np.isfinite(values).all() else f"{figure} is not finite"


def _figures(name: str, metric: Metric | SumOfMeans, measure: MeasureSamples, times: np.ndarray) -> dict[str, np.ndarray]:
    """The figures of the measure `name` in each resample: [R] each."""
    if not measure.counts and (at_once := metric.of_resamples(measure.kept, times)) is not None:
        parts = at_once if isinstance(at_once, dict) else {"": at_once}
        return {f"{name}.{part}" if part else name: each for part, each in parts.items()}
    gauge, sums = Gauge(name, {}, metric.result), {key: each.sums(times) for key, each in measure.counts.items()}
    found: dict[str, list[float]] = {}
    for row, often in enumerate(times.astype(np.int64)):
        kept = {key: {0: np.repeat(values, often, axis=0)} for key, values in measure.kept.items()}
        for figure, value in gauge.figures(Gathered({key: each[row] for key, each in sums.items()}, kept)).items():
            if not isinstance(value, list):
                found.setdefault(figure, []).append(value)
    if any(len(values) < len(times) for values in found.values()):
        raise PpemaError(f"{name}: the names of its figures differ between resamples")
    return {figure: np.array(values) for figure, values in found.items()}


def _width(measure: MeasureSamples) -> int:
    """The numbers of a sample that the resamples of a chunk hold at a time."""
    kept = max((values.size // max(1, len(values)) for values in measure.kept.values()), default=1)
    listed = max((len(each.sample) for each in measure.counts.values()), default=0)
    samples = max((int(each.sample.max(initial=0)) + 1 for each in measure.counts.values()), default=1)
    sums = max((each.size for each in measure.counts.values()), default=0)
    return max(kept, -(-listed // samples), -(-sums // samples))
