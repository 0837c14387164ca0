"""Intervals of a comparison over the samples of the evaluations, from what its runs keep of each sample.

`compare` imports this module only if they are asked for, once paddle is loaded: the metrics are computed again on resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ppema.checkpoint.folder import step_folder
from ppema.config import SAFETENSORS
from ppema.errors import Naming, PpemaError
from ppema.evaluation.samples.bootstrap import LEVEL, RESAMPLES, PairedDifference, SampleInterval, interval, over_seeds, paired
from ppema.evaluation.samples.kept_samples import SAMPLES, KeptSamples, read_samples
from ppema.evaluation.samples.replicates import Replicates, replicates
from ppema.experiments.comparison.compared_rows import ComparedRow, Contrast, MeasuredRun
from ppema.experiments.comparison.compared_run import ComparedRun
from ppema.experiments.comparison.text_table import FoldedTable
from ppema.log.figure_texts import decimals

# A figure of an evaluation and that of its kept samples differ by rounding only: batches may have other sizes.
_SAME = 1e-4


@dataclass(frozen=True)
class RowInterval:
    """The mean of a figure over the runs of a row.

    over_samples: for these runs; over_both: also over their seeds, None for one run.
    """

    group: str
    weights: str
    metric: str
    over_samples: SampleInterval
    over_both: SampleInterval | None


@dataclass(frozen=True)
class SampleDifference:
    """The mean difference of the first metric over pairs of runs, on the same samples. Fields as in RowInterval."""

    words: str
    over_samples: PairedDifference
    over_both: PairedDifference | None


@dataclass(frozen=True)
class SampleIntervals:
    """All of a comparison. samples: of the evaluations; without: why figures have no interval."""

    samples: int
    metric: str
    rows: tuple[RowInterval, ...]
    differences: tuple[SampleDifference, ...]
    without: tuple[str, ...]

    def tables(self) -> list[FoldedTable]:
        """The tables of the text and of Markdown."""
        level = f"{LEVEL:.0%} intervals over the {self.samples} samples"
        found = [self._intervals(level, both=False)]
        if several := any(row.over_both is not None for row in self.rows):
            found.append(self._intervals(f"{level} and over seeds", both=True))
        if self.differences:
            head = ("difference", "mean", "over samples", "beyond 0", *(("over both", "beyond 0") if several else ()))
            digits = self._digits(self.metric)
            cells = tuple(
                (
                    each.words,
                    f"{each.over_samples.value:+.{digits}f}",
                    *_cells(each.over_samples, digits),
                    *(_cells(each.over_both, digits) * several),
                )
                for each in self.differences
            )
            found.append(FoldedTable(f"Differences of {self.metric} on the same samples", head, cells))
        return found

    def notes(self) -> list[str]:
        """What a reader of the tables should know."""
        seeds = any(row.over_both is not None for row in self.rows)
        return [
            f"intervals over samples are percentiles of {RESAMPLES:,} resamples, the same for all rows; "
            + ("those over seeds draw the runs, too" if seeds else "another seed of training would vary the figures more"),
            "beyond 0: the share of resamples with a difference of 0 or of the other sign",
            *(f"no interval over samples: {why}" for why in self.without),
        ]

    def plain(self) -> dict[str, Any]:
        """All of it as plain data for JSON."""
        return asdict(self)

    def _digits(self, metric: str) -> int:
        """Four decimals, or more for small figures: four would show intervals of 3e-5 as 0.0000..0.0000."""
        return max(4, decimals(row.over_samples.value for row in self.rows if row.metric == metric))

    def _intervals(self, title: str, *, both: bool) -> FoldedTable:
        cells: dict[tuple[str, str], dict[str, str]] = {}
        for row in self.rows:
            found = row.over_both if both else row.over_samples
            cells.setdefault((row.group, row.weights), {})[row.metric] = _ends(found, self._digits(row.metric))
        metrics = tuple(dict.fromkeys(row.metric for row in self.rows))
        rows = tuple((*key, *(each.get(metric, "-") for metric in metrics)) for key, each in cells.items())
        return FoldedTable(title, ("group", "weights", *metrics), rows, keys=2)


def sample_intervals(
    runs: Sequence[ComparedRun], rows: Sequence[ComparedRow], contrasts: Sequence[Contrast], metrics: Sequence[str]
) -> SampleIntervals:
    """The intervals of `metrics` in `rows`, and those of `contrasts`, whose metric is the first.

    Raises PpemaError if a run does not keep the samples of the figures that are compared, and if the samples are not the same.
    CheckpointError for a damaged file.
    """
    named = {run.name: run for run in runs}
    kept = {(run.name, row.weights): _read(named[run.name], run, row.weights, metrics) for row in rows for run in row.runs}
    _check_same(kept)
    made: dict[tuple[str, str], Replicates] = {}
    for name, run in named.items():
        mine = {key: samples for key, samples in kept.items() if key[0] == name}
        made |= dict(zip(mine, replicates(run.config, list(mine.values())), strict=True)) if mine else {}
    first = metrics[0]
    found = [each for row in rows for metric in metrics if (each := _row(row, metric, made)) is not None]
    differences = [each for contrast in contrasts if (each := _difference(contrast, first, made)) is not None]
    without = dict.fromkeys(why for each in made.values() for figure, why in each.without.items() if figure in metrics)
    samples = next(iter(kept.values())).samples
    return SampleIntervals(samples, first, tuple(found), tuple(differences), tuple(without))


def _read(compared: ComparedRun, run: MeasuredRun, weights: str, metrics: Sequence[str]) -> KeptSamples:
    """What `compared` keeps for the figures of `run`, of the measures of `metrics` only."""
    path, step = compared.run.path, run.at.step
    file = step_folder(path / SAMPLES, step) / f"{weights}{SAFETENSORS}"
    if not file.exists():
        checkpoint = step_folder(path / "checkpoints", step)
        how = "run eval with {keep_samples}, {config} {} and {checkpoint} {}"
        if not checkpoint.exists():
            how = "for {keep_samples}, with {config} {}, its checkpoint {} is gone"
        lacks = "{intervals}: {} keeps no samples of {} at step {}: "
        raise PpemaError(Naming(lacks + how, run.name, weights, step, path / "config.yml", checkpoint))
    found = read_samples(file)
    wanted = {name: each for name, each in found.measures.items() if not each.figures.keys().isdisjoint(metrics)}
    for metric in metrics:
        now = next((each.figures[metric] for each in wanted.values() if metric in each.figures), None)
        then = run.at.figures.get(metric)
        if then is not None and (now is None or not math.isclose(now, then, rel_tol=_SAME, abs_tol=_SAME**2)):
            has = f"{'no' if now is None else f'{now:.6g} for'} {metric}, and the run's evaluation {then:.6g}"
            raise PpemaError(Naming("{intervals}: {} has {}: keep the samples again", file, has))
    return replace(found, measures=wanted)


def _check_same(kept: Mapping[tuple[str, str], KeptSamples]) -> None:
    (first, samples), *others = kept.items()
    for key, each in others:
        if not samples.same_samples(each):
            raise PpemaError(Naming("{intervals}: {} and {} are evaluated on different samples", first[0], key[0]))


def _row(row: ComparedRow, metric: str, made: Mapping[tuple[str, str], Replicates]) -> RowInterval | None:
    found = [made[run.name, row.weights] for run in row.runs]
    if any(metric not in each.each for each in found):
        return None
    value, stacked = _mean([each.value(metric) for each in found]), np.stack([each.each[metric] for each in found])
    both = interval(value, over_seeds(stacked)) if len(found) > 1 else None
    return RowInterval(row.group, row.weights, metric, interval(value, stacked.mean(axis=0)), both)


def _difference(contrast: Contrast, metric: str, made: Mapping[tuple[str, str], Replicates]) -> SampleDifference | None:
    row, before = contrast.row, contrast.before
    old = {run.repetition: made[run.name, before.weights] for run in before.runs}
    pairs = [(old[run.repetition], made[run.name, row.weights]) for run in row.runs if run.repetition in old]
    if not pairs or any(metric not in each.each for pair in pairs for each in pair):
        return None
    value = _mean([b.value(metric) - a.value(metric) for a, b in pairs])
    stacked = np.stack([b.each[metric] - a.each[metric] for a, b in pairs])
    both = paired(value, over_seeds(stacked)) if len(pairs) > 1 else None
    return SampleDifference(contrast.words, paired(value, stacked.mean(axis=0)), both)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ends(found: SampleInterval | None, digits: int) -> str:
    return "-" if found is None else f"{found.low:.{digits}f}..{found.high:.{digits}f}"


def _cells(found: PairedDifference | None, digits: int) -> tuple[str, ...]:
    return ("-", "-") if found is None else (f"{found.low:+.{digits}f}..{found.high:.{digits}f}", f"{found.wrong:.1%}")
