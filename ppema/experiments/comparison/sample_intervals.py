"""Intervals of a comparison over the samples of the evaluations, from what its runs keep of each sample.

`compare` imports this module only if they are asked for, once paddle is loaded: the metrics are computed again on resamples.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ppema.checkpoint.folder import step_folder
from ppema.config import SAFETENSORS
from ppema.errors import Naming, PpemaError
from ppema.evaluation.samples.bootstrap import LEVEL, RESAMPLES, SampleInterval, interval, over_both
from ppema.evaluation.samples.interval_rows import CHOSEN, MCNEMAR, answers, bound_notes, signed, signed_ends
from ppema.evaluation.samples.kept_samples import SAMPLES, KeptSamples, read_samples
from ppema.evaluation.samples.paired_difference import PairedDifference, paired_difference
from ppema.evaluation.samples.replicates import Replicates, replicates
from ppema.experiments.comparison.compared_rows import ComparedRow, Contrast, MeasuredRun
from ppema.experiments.comparison.compared_run import ComparedRun
from ppema.experiments.comparison.text_table import FoldedTable
from ppema.log.figure_texts import decimals

# A figure of an evaluation and that of its kept samples differ by rounding only: batches may have other sizes.
_SAME = 1e-4
_ANSWERS = ["gained", "lost", "p"]


@dataclass(frozen=True)
class RowInterval:
    """The mean of a figure over the runs of a row.

    over_samples: for these runs; over_both: also over their seeds, None for one run, and if the figure is the same in all
    resamples.
    """

    group: str
    weights: str
    metric: str
    over_samples: SampleInterval
    over_both: SampleInterval | None


@dataclass(frozen=True)
class SampleDifference:
    """The mean difference of the first metric over pairs of runs, on the same samples. words: which difference."""

    words: str
    found: PairedDifference


@dataclass(frozen=True)
class SampleIntervals:
    """All of a comparison. samples: of the evaluations; without: why figures have no interval; others: further notes."""

    samples: int
    metric: str
    rows: tuple[RowInterval, ...]
    differences: tuple[SampleDifference, ...]
    without: tuple[str, ...]
    others: tuple[str, ...] = ()

    def tables(self) -> list[FoldedTable]:
        """The tables of the text and of Markdown."""
        level = f"{LEVEL:.0%} intervals over the {self.samples} samples"
        found = [self._intervals(level, both=False)]
        if several := any(row.over_both is not None for row in self.rows):
            found.append(self._intervals(f"{level} and over seeds", both=True))
        if self.differences:
            head = [
                "difference",
                "mean",
                "over samples",
                *(["over both"] if several else []),
                *(_ANSWERS if self._tested else []),
            ]
            cells = tuple(self._cells(each, several) for each in self.differences)
            found.append(FoldedTable(f"Differences of {self.metric} on the same samples", tuple(head), cells))
        return found

    def notes(self) -> list[str]:
        """What a reader of the tables should know."""
        seeds = any(row.over_both is not None for row in self.rows)
        return [
            f"intervals over samples are percentiles of {RESAMPLES:,} resamples, the same for all rows; "
            + (
                "those over seeds add Student's for the runs"
                if seeds
                else "another seed of training would vary the figures more"
            ),
            *([f"gained, lost: samples that only the first or only the second gets right; {MCNEMAR}"] if self._tested else []),
            *self.others,
            *(f"no interval over samples: {why}" for why in self.without),
        ]

    @property
    def _tested(self) -> bool:
        return any(each.found.answers is not None for each in self.differences)

    def _cells(self, each: SampleDifference, several: bool) -> tuple[str, ...]:
        mean, *ends = signed_ends(each.found)
        both = each.found.over_both
        over = ["-" if both is None else "..".join(signed(both.low, both.high))] * several
        return (
            each.words,
            mean,
            "-" if ends[0] == "-" else "..".join(ends),
            *over,
            *(answers(each.found) if self._tested else ()),
        )

    def plain(self) -> dict[str, Any]:
        """All of it as plain data for JSON."""
        differences = [{"words": each.words, **asdict(each.found)} for each in self.differences]
        return {**asdict(self), "differences": differences}

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
    runs: Sequence[ComparedRun],
    rows: Sequence[ComparedRow],
    contrasts: Sequence[Contrast],
    metrics: Sequence[str],
    chosen: str = "",
) -> SampleIntervals:
    """The intervals of `metrics` in `rows`, and those of `contrasts`, whose metric is the first.

    chosen: what was chosen by figures on the same samples, for a note.

    Raises PpemaError if runs do not keep the samples of the figures that are compared, and if the samples are not the same.
    CheckpointError for a damaged file.
    """
    named = {run.name: run for run in runs}
    files = {(run.name, row.weights): _file(named[run.name], run, row.weights) for row in rows for run in row.runs}
    _check_kept(files, rows, named)
    kept = {(run.name, row.weights): _read(files[run.name, row.weights], run, metrics) for row in rows for run in row.runs}
    _check_same(kept)
    made: dict[tuple[str, str], Replicates] = {}
    for name, run in named.items():
        mine = {key: samples for key, samples in kept.items() if key[0] == name}
        made |= dict(zip(mine, replicates(run.config, list(mine.values())), strict=True)) if mine else {}
    first = metrics[0]
    found, without = list[RowInterval](), dict[str, None]()
    for row in rows:
        for metric in metrics:
            if (each := _row(row, metric, made)) is not None:
                found.append(each)
            else:
                reasons = (made[run.name, row.weights].without.get(metric) for run in row.runs)
                without |= dict.fromkeys(why for why in reasons if why)
    differences = [each for contrast in contrasts if (each := _difference(contrast, first, made)) is not None]
    samples = next(iter(kept.values())).samples
    others = [f"{chosen} {CHOSEN}"] if chosen else []
    others += bound_notes(list(made.values()), metrics)
    return SampleIntervals(samples, first, tuple(found), tuple(differences), tuple(without), tuple(others))


def _file(compared: ComparedRun, run: MeasuredRun, weights: str) -> Path:
    return step_folder(compared.run.path / SAMPLES, run.at.step) / f"{weights}{SAFETENSORS}"


def _check_kept(files: Mapping[tuple[str, str], Path], rows: Sequence[ComparedRow], named: Mapping[str, ComparedRun]) -> None:
    """Raise PpemaError with a command for each run and step whose samples are missing."""
    lacking: dict[tuple[str, int], list[str]] = {}
    for row in rows:
        for run in row.runs:
            if not files[run.name, row.weights].exists():
                lacking.setdefault((run.name, run.at.step), []).append(row.weights)
    missing, gone = list[tuple[str, str]](), list[Naming]()
    for (name, step), weights in lacking.items():
        path = named[name].run.path
        checkpoint = step_folder(path / "checkpoints", step)
        if checkpoint.exists():
            missing.append((shlex.quote(str(path / "config.yml")), shlex.quote(str(checkpoint))))
        else:
            lacks = "{intervals}: {} keeps no samples of {} at step {}, and its checkpoint {} is gone"
            gone.append(Naming(lacks, name, " and ".join(weights), step, checkpoint))
    if gone:
        raise PpemaError(Naming("\n".join(each.text for each in gone), *(value for each in gone for value in each.values)))
    if missing:
        number = "1 evaluation lacks" if len(missing) == 1 else f"{len(missing)} evaluations lack"
        text = (
            "{intervals}: {} samples, which are kept by:"
            + "\n  ppema eval {config} {} {checkpoint} {} {keep_samples}" * len(missing)
        )
        raise PpemaError(Naming(text, number, *(part for each in missing for part in each)))


def _read(file: Path, run: MeasuredRun, metrics: Sequence[str]) -> KeptSamples:
    """What `file` keeps for the figures of `run`, of the measures of `metrics` only."""
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
    values = [each.value(metric) for each in found]
    value = sum(values) / len(values)
    over_samples = interval(value, np.mean([each.each[metric] for each in found], axis=0))
    if over_samples is None and len(set(values)) == 1:
        over_samples = found[0].interval(metric)
    if over_samples is None:
        return None
    both = over_both(over_samples, values) if len(found) > 1 else None
    return RowInterval(row.group, row.weights, metric, over_samples, both)


def _difference(contrast: Contrast, metric: str, made: Mapping[tuple[str, str], Replicates]) -> SampleDifference | None:
    row, before = contrast.row, contrast.before
    old = {run.repetition: made[run.name, before.weights] for run in before.runs}
    pairs = [(made[run.name, row.weights], old[run.repetition]) for run in row.runs if run.repetition in old]
    found = paired_difference(pairs, metric)
    return None if found is None else SampleDifference(contrast.words, found)


def _ends(found: SampleInterval | None, digits: int) -> str:
    return "-" if found is None else f"{found.low:.{digits}f}..{found.high:.{digits}f}"
