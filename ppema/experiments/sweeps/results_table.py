"""The table that ends a sweep: the trials, best first, in lines of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ppema.config.tree.yaml_text import one_line_yaml
from ppema.errors import escaped, listed
from ppema.experiments.sweeps.sweep_folder import RESULTS, SweepResults, TrialResult
from ppema.log.figure_texts import figure, spread, with_spread

WIDTH = 80
MOST_ROWS = 30
_MOST_ERRORS = 5  # lines
_MOST_OF_A_REASON = 10  # trials
_LONGEST_REASON = 180  # characters
_GAP = "  "


def table_of(results: SweepResults, width: int = WIDTH) -> list[str]:
    """The lines of the table, without control characters, and below it those of failed trials and of the best one.

    A column is a swept key, named by its last parts. If the columns take more than `width`, the keys and values of a trial
    follow its row in lines of their own. Values are not cut; a word of more than `width` characters is a line of its own.
    The reason of a failed trial is one line, of any width.
    """
    ranked = results.ranked()
    shown = ranked[:MOST_ROWS]
    head, rows = _figures(results, shown)
    names = short_names(list(results.over))
    params = [[_value(key, trial.params) for key in names] for trial in shown]
    wide = [[*row[:2], *each, *row[2:]] for row, each in zip(rows, params, strict=True)]
    lines = _aligned([*head[:2], *names.values(), *head[2:]], wide)
    if max(map(len, lines)) > width:
        lines = _in_two_lines(head, rows, list(names.values()), params, width)
    if len(ranked) > len(shown):
        lines += _wrapped(f"and {len(ranked) - len(shown)} more trials, in {RESULTS}", width)
    return [*lines, *_errors(shown), *_best(results, width)]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The shortest last parts of each dotted key that no other key ends in."""
    found = {}
    for key in keys:
        parts = key.split(".")
        tails = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        found[key] = next((tail for tail in tails if _alone(tail, keys)), key)
    return found


def shortened(reason: str) -> str:
    """The reason of a failed trial for a line of text. results.json has all of it."""
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 3]}..."


def _alone(tail: str, keys: Sequence[str]) -> bool:
    return sum(f".{key}".endswith(f".{tail}") for key in keys) == 1


def _figures(results: SweepResults, trials: Sequence[TrialResult]) -> tuple[list[str], list[list[str]]]:
    """The head and the rows, without the swept keys. Columns in which no trial has a figure are left out."""
    columns = {
        "trial": [str(trial.number) for trial in trials],
        "state": [trial.state for trial in trials],
        results.monitor.replace("/", "/\n", 1): [figure(trial.value) for trial in trials],
    }
    if len(results.seeds) > 1:
        columns["spread"] = [spread(trial.spread) for trial in trials]
    if any(trial.length for trial in trials):
        columns["best\nsigma_rel"] = [f"{trial.length.sigma_rel:g}" if trial.length else "-" for trial in trials]
        metric = results.monitor.partition("/")[2]
        columns[f"its\n{metric}"] = [figure(trial.length.value if trial.length else None) for trial in trials]
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def _value(key: str, params: Mapping[str, Any]) -> str:
    """The exact value as YAML: rounded, a decay of 0.9999999 would be 1."""
    return escaped(one_line_yaml(params[key])) if key in params else "-"


def _aligned(head: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a table: numbers to the right, words to the left. A name in `head` may have several lines."""
    tallest = max(name.count("\n") for name in head) + 1
    stacked = [[""] * (tallest - 1 - name.count("\n")) + name.split("\n") for name in head]
    columns: list[list[str]] = []
    for names, cells in zip(stacked, zip(*rows, strict=True) if rows else [()] * len(head), strict=True):
        wide = max(map(len, [*names, *cells]))
        number = all(map(_is_number, cells))
        columns.append([cell.rjust(wide) if number else cell.ljust(wide) for cell in (*names, *cells)])
    return [_GAP.join(row).rstrip() for row in zip(*columns, strict=True)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell == "-"
    return True


def _in_two_lines(head: list[str], rows: list[list[str]], names: list[str], params: list[list[str]], width: int) -> list[str]:
    """The lines of a table in which the keys and values of a row follow it."""
    lines = _aligned(head, rows)
    found = lines[: -len(rows)]
    for row, values in zip(lines[-len(rows) :], params, strict=True):
        words = [f"{name}={value}" for name, value in zip(names, values, strict=True)]
        found += [row, *_wrapped(_GAP.join(words), width, indent=7)]
    return found


def _errors(trials: Sequence[TrialResult]) -> list[str]:
    """One line for each reason, with the trials that failed for it."""
    failed: dict[str, list[str]] = {}
    for trial in trials:
        if trial.error:
            failed.setdefault(f"{trial.state}: {escaped(shortened(trial.error))}", []).append(str(trial.number))
    lines = [
        f"trial{'s' if len(numbers) > 1 else ''} {listed(numbers, _MOST_OF_A_REASON)} {reason}"
        for reason, numbers in failed.items()
    ]
    more = sum(map(len, list(failed.values())[_MOST_ERRORS:]))
    return [*lines[:_MOST_ERRORS], f"and {more} more failures"] if more else lines


def _best(results: SweepResults, width: int) -> list[str]:
    """The lines that name the best trial, the folders of its runs, and what it was chosen among."""
    best = next((trial for trial in results.trials if trial.number == results.best), None)
    if best is None:
        return ["no trial is complete"]
    words = [f"{key}={one_line_yaml(value)}" for key, value in best.params.items()]
    lines = _wrapped(f"best: trial {best.number}, {results.monitor} {with_spread(best.value, best.spread)}", width)
    lines += _wrapped(_GAP.join(map(escaped, words)), width, indent=6) if words else []
    if best.length is not None:
        lines.append(f"      {best.length.name}: {results.monitor.partition('/')[2]} {figure(best.length.value)}")
    lines += [f"run: {escaped(run.output)}" for run in best.runs]
    if chosen := results.chosen_among():
        lines += _wrapped(f"chosen on data.eval among {chosen}: measure it on data that chose nothing", width)
    return lines


def _wrapped(text: str, width: int, indent: int = 0) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(
        text, width, initial_indent=margin, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
