"""The tables of a comparison: figures, time to a target, settings and differences, in cells of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ppema.config.tree.yaml_text import one_line_yaml
from ppema.experiments.comparison.compared_rows import ComparedRow, Contrast, Summary
from ppema.experiments.comparison.paired_tests import LEVEL
from ppema.experiments.comparison.text_table import FoldedTable
from ppema.log.figure_texts import decimals

NOTHING = "-"


def figure_table(
    rows: Sequence[ComparedRow], metrics: Sequence[str], best: Mapping[str, float | None], title: str
) -> FoldedTable:
    """The mean and spread of each metric. best: by metric, the mean that is marked."""
    columns = {metric: [row.figure(metric) for row in rows] for metric in metrics}
    cells = [summaries(column) for column in columns.values()]
    found = tuple(
        (row.group, row.weights, _count(row), *(column[index] for column in cells), _number(row.steps.mean, 0))
        for index, row in enumerate(rows)
    )
    marked = {
        (index, 3 + number)
        for number, (metric, column) in enumerate(columns.items())
        for index, summary in enumerate(column)
        if len(rows) > 1 and summary.mean is not None and summary.mean == best[metric]
    }
    return FoldedTable(title, ("group", "weights", "runs", *metrics, "step"), found, keys=2, marked=frozenset(marked))


def target_table(rows: Sequence[ComparedRow], title: str) -> FoldedTable:
    """Steps and seconds until a target."""
    seconds = summaries([row.seconds_to_target for row in rows])
    found = tuple(
        (row.group, row.weights, f"{len(row.reaching)} of {len(row.runs)}", _spread(row.steps_to_target, 0), time)
        for row, time in zip(rows, seconds, strict=True)
    )
    return FoldedTable(title, ("group", "weights", "reached", "steps", "seconds"), found, keys=2)


def settings_table(settings: Mapping[str, Mapping[str, Any]], groups: Sequence[str], title: str) -> FoldedTable:
    """The differing keys of the config. The longer side of keys and groups goes down."""
    texts = {
        key: [one_line_yaml(values[name]) if name in values else NOTHING for name in groups] for key, values in settings.items()
    }
    if len(texts) < len(groups):
        rows = tuple(zip(groups, *texts.values(), strict=True))
        return FoldedTable(title, ("group", *texts), rows, words=True)
    return FoldedTable(title, ("key", *groups), tuple((key, *values) for key, values in texts.items()), words=True)


def contrast_table(contrasts: Sequence[Contrast], metric: str, title: str) -> FoldedTable:
    """The differences of `metric`, with their tests, in the decimals of its values. A single p is not adjusted by Holm."""
    values = [side.figure(metric) for each in contrasts for side in (each.before, each.row)]
    digits = decimals([each.mean for each in values], [each.spread for each in values])
    adjusted = sum(each.adjusted is not None for each in contrasts) > 1
    found = []
    for contrast in contrasts:
        test = contrast.test
        interval = NOTHING
        if test.low is not None and test.high is not None:
            interval = f"{test.low:.{digits}f}..{test.high:.{digits}f}"
        difference = NOTHING if math.isnan(test.difference) else f"{test.difference:+.{digits}f}"
        chances = [_chance(each) for each in (test.p, *([contrast.adjusted] if adjusted else []), test.exact)]
        found.append((contrast.words, str(test.n), difference, interval, *chances))
    head = ("difference", "n", "mean", f"{LEVEL:.0%} interval", "p", *(["Holm"] if adjusted else []), "exact")
    return FoldedTable(title, head, tuple(found))


def summaries(column: Sequence[Summary]) -> list[str]:
    """`mean ± spread` of each, with the same number of decimals."""
    digits = decimals([each.mean for each in column], [each.spread for each in column])
    return [_spread(each, digits) for each in column]


def _count(row: ComparedRow) -> str:
    unfinished = sum(not run.is_finished for run in row.runs)
    return f"{len(row.runs)} ({unfinished} unfinished)" if unfinished else str(len(row.runs))


def _spread(summary: Summary, digits: int) -> str:
    mean = _number(summary.mean, digits)
    return mean if summary.spread is None else f"{mean} ± {summary.spread:.{digits}f}"


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _chance(value: float | None) -> str:
    if value is None:
        return NOTHING
    return "<0.001" if value < 0.001 else f"{value:.3f}"
