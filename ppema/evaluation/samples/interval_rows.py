"""The intervals of an evaluation as rows of a table, and as values of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ppema.config import RAW
from ppema.evaluation.samples.bootstrap import LEVEL, RESAMPLES
from ppema.evaluation.samples.paired_difference import PairedDifference, paired_difference
from ppema.evaluation.samples.replicates import Replicates
from ppema.log.figure_texts import difference

HEAD = ("figure", "weights", "value", "low", "high", f"- {RAW}", "low", "high", "gained", "lost", "p")
MCNEMAR = "p: McNemar's exact test, two-sided: for other samples and these two models"
CHOSEN = "chosen on these samples: its figures are slightly too good, and no interval covers that"


def signed(*values: float) -> list[str]:
    """A difference and its ends. One that differs from 0 has its sign, however small; rounding of 0 is 0."""
    rounding = 1e-12 * max(map(abs, values))
    return [difference(0.0 if abs(value) <= rounding else value) for value in values]


def interval_rows(found: Sequence[Replicates]) -> list[list[object]]:
    """The rows below HEAD: each figure of each set of weights, with its difference from the raw weights if they are there."""
    raw = next((each for each in found if each.samples.weights == RAW), None)
    figures = dict.fromkeys(figure for each in found for figure in each.each)
    rows: list[list[object]] = []
    for figure in figures:
        for each in found:
            here = each.interval(figure)
            ends = ["-", "-"] if here is None else [here.low, here.high]
            rows.append([figure, each.samples.weights, each.value(figure), *ends, *_minus(each, raw, figure)])
    return rows


def signed_ends(found: PairedDifference) -> list[str]:
    """The difference and the ends of its interval over samples, "-" without one."""
    ends = found.over_samples
    return [*signed(found.value), "-", "-"] if ends is None else signed(found.value, ends.low, ends.high)


def answers(found: PairedDifference) -> list[str]:
    """The cells of gained, lost and p."""
    return (
        ["-"] * 3 if found.answers is None else [str(found.answers.gained), str(found.answers.lost), f"{found.answers.p:.3f}"]
    )


def _minus(each: Replicates, raw: Replicates | None, figure: str) -> list[str]:
    less = None if raw is None or raw is each else paired_difference([(each, raw)], figure)
    return ["-"] * 6 if less is None else [*signed_ends(less), *answers(less)]


def interval_notes(found: Sequence[Replicates], *, chosen: bool = False) -> list[str]:
    """Lines below the table: what the intervals are, and which figures have none.

    chosen: whether the weights were chosen by their figures on the same samples.
    """
    percent, samples = round(100 * LEVEL), found[0].samples.samples
    notes = [
        f"low, high: {percent} % interval over {RESAMPLES:,} resamples of the {samples} samples (percentile bootstrap)",
        "other seeds of training would vary the figures too: the intervals do not cover that",
    ]
    if chosen:
        notes.append(f"the checkpoint was {CHOSEN}")
    figures = dict.fromkeys(figure for each in found for figure in each.each)
    if len(found) > 1 and any(each.answers(each, figure) for each in found for figure in each.each):
        notes.append(f"gained, lost: samples that only the average, or only {RAW}, gets right; {MCNEMAR}")
    notes += bound_notes(found, figures)
    without = dict.fromkeys(why for each in found for why in each.without.values())
    return [*notes, *(f"no interval: {why}" for why in without)]


def bound_notes(found: Sequence[Replicates], figures: Iterable[str]) -> list[str]:
    """A line if one of `figures` has no interval from resamples, but one from Clopper and Pearson."""
    exact = [figure for figure in figures if any(each.is_all_or_none(figure) for each in found if figure in each.each)]
    return [f"{', '.join(exact)}: the interval of exactly 0 or 1 is Clopper's and Pearson's"] if exact else []


def interval_values(found: Sequence[Replicates]) -> dict[str, Any]:
    """{"intervals": {weights: {figure: [low, high]}}, "differences": {weights: {figure: {…}}}}.

    Differences are from the raw weights, {value, low, high} and for right or wrong {gained, lost, p}. low, high: null if the
    difference is the same in all resamples.
    """
    raw = next((each for each in found if each.samples.weights == RAW), None)
    intervals, differences = dict[str, Any](), dict[str, Any]()
    for each in found:
        ends = {figure: each.interval(figure) for figure in each.each}
        intervals[each.samples.weights] = {figure: [one.low, one.high] for figure, one in ends.items() if one is not None}
        if raw is not None and raw is not each:
            less = {figure: paired_difference([(each, raw)], figure) for figure in each.each}
            differences[each.samples.weights] = {figure: _plain(one) for figure, one in less.items() if one is not None}
    return {"intervals": intervals, "differences": differences}


def _plain(found: PairedDifference) -> dict[str, Any]:
    ends = found.over_samples
    sides = {"low": None, "high": None} if ends is None else {"low": ends.low, "high": ends.high}
    return {"value": found.value, **sides, **({} if found.answers is None else vars(found.answers))}
