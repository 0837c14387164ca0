"""The intervals of an evaluation as rows of a table, and as values of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppema.config import RAW
from ppema.evaluation.samples.bootstrap import LEVEL, RESAMPLES
from ppema.evaluation.samples.replicates import Replicates
from ppema.log.figure_texts import decimals

HEAD = ("figure", "weights", "value", "low", "high", f"- {RAW}", "low", "high", "beyond 0")


def interval_rows(found: Sequence[Replicates]) -> list[list[object]]:
    """The rows below HEAD: each figure of each set of weights, with its difference from the raw weights if they are there."""
    raw = next((each for each in found if each.samples.weights == RAW), None)
    figures = dict.fromkeys(figure for each in found for figure in each.each)
    rows: list[list[object]] = []
    for figure in figures:
        # As many decimals as the figures need: 0.0000 would hide the difference of two losses of 3e-5.
        digits = max(4, decimals(each.value(figure) for each in found))
        for each in found:
            here = each.interval(figure)
            ends = ["-", "-"] if here is None else [here.low, here.high]
            less = each.minus(raw, figure) if raw is not None and raw is not each else None
            rows.append([figure, each.samples.weights, each.value(figure), *ends])
            rows[-1] += (
                ["-"] * 4
                if less is None
                else [*(f"{number:+.{digits}f}" for number in (less.value, less.low, less.high)), f"{less.wrong:.1%}"]
            )
    return rows


def interval_notes(found: Sequence[Replicates]) -> list[str]:
    """Lines below the table: what the intervals are, and which figures have none."""
    percent, samples = round(100 * LEVEL), found[0].samples.samples
    notes = [
        f"low, high: {percent} % interval over {RESAMPLES:,} resamples of the {samples} samples (percentile bootstrap)",
        "beyond 0: the share of resamples with a difference of 0 or of the other sign",
        "other seeds of training would vary the figures too: the intervals do not cover that",
    ]
    without = dict.fromkeys(why for each in found for why in each.without.values())
    return [*notes, *(f"no interval: {why}" for why in without)]


def interval_values(found: Sequence[Replicates]) -> dict[str, Any]:
    """{"intervals": {weights: {figure: [low, high]}}, "differences": {weights: {figure: {value, low, high, wrong}}}}.

    Differences are from the raw weights.
    """
    raw = next((each for each in found if each.samples.weights == RAW), None)
    intervals, differences = dict[str, Any](), dict[str, Any]()
    for each in found:
        ends = {figure: each.interval(figure) for figure in each.each}
        intervals[each.samples.weights] = {figure: [one.low, one.high] for figure, one in ends.items() if one is not None}
        if raw is not None and raw is not each:
            less = {figure: each.minus(raw, figure) for figure in each.each}
            differences[each.samples.weights] = {figure: vars(one) for figure, one in less.items() if one is not None}
    return {"intervals": intervals, "differences": differences}
