"""Lays out the table of a run's evaluations for a terminal. No line is longer than the terminal is wide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ppema.errors import escaped
from ppema.log.figure_texts import difference, figure
from ppema.log.terminal.standings import Standing, Standings

_GAP = 2  # spaces between columns
_NAME = "weights"


@dataclass(frozen=True)
class _Column:
    """A column of numbers. head: its title; cells: one for each set of weights; width: in cells of the terminal."""

    head: str
    cells: list[Text]
    width: int


def standings_table(standings: Standings, width: int, height: int | None) -> list[RenderableType]:
    """The last evaluation: a row for each set of weights; for each metric its value, the best so far, and the change.

    Metrics that do not fit beside each other make further tables below. If the columns of one metric do not fit, only its value
    is shown; names that are longer than the terminal is wide are folded. width: in cells; height: the most lines, or None.
    What the height has no room for is left out, monitored metrics last; a line tells how much.
    """
    weights, metrics, found = standings.table()
    if not weights:
        return []
    names = [escaped(each) for each in weights]
    groups = [_columns(metric, [found.get((each, metric)) for each in weights]) for metric in metrics]
    widest = max(map(cell_len, (_NAME, *names)))
    # A long title must not take the place of the names, nor the other way round.
    least = max(column.width for group in groups for column in group[:1])
    name_width = min(widest, max(width - _GAP - least, width // 2))
    shortened = any(_total(group) > width - name_width for group in groups)
    groups = [group if _total(group) <= width - name_width else [_fitted(group[0], width - name_width)] for group in groups]
    blocks = _blocks(groups, width - name_width)
    title = f"evaluation after step {standings.step}, epoch {standings.epoch:.2f}"
    rows, shown = len(names), len(blocks)
    notes = ["best and change need a wider terminal"] if shortened else []
    if height is not None:
        heads = [max(_lines(column.head, column.width) for group in block for column in group) for block in blocks]
        tall = [_lines(name, name_width) for name in names]
        rows, shown = _kept(heads, tall, height - 2 - len(notes))
        notes += _left_out(sum(map(len, blocks[shown:])), "metric") + _left_out(len(names) - rows, "average")
    made: list[RenderableType] = [Text(title, style="dim", no_wrap=False)]
    for block in blocks[:shown]:
        made.append(_table(names[:rows], name_width, [column for group in block for column in group]))
    return made + [Text(note, style="dim", no_wrap=False) for note in notes]


def _columns(metric: str, standings: Sequence[Standing | None]) -> list[_Column]:
    """The columns of a metric. One whose better direction is not known has no best."""
    values, bests, changes = [], [], []
    for standing in standings:
        if standing is None:
            values, bests, changes = [*values, Text("-")], [*bests, Text("-")], [*changes, Text("-")]
            continue
        colour = {True: "green", False: "red", None: ""}[standing.better]
        values.append(Text(figure(standing.value), style="bold" if standing.new_best else ""))
        bests.append(Text("-" if standing.best is None else figure(standing.best)))
        changes.append(Text("-" if standing.change is None else difference(standing.change), style=colour))
    directed = any(standing is not None and standing.best is not None for standing in standings)
    made = [(escaped(metric), values), *([("best", bests)] if directed else []), ("change", changes)]
    return [_Column(head, cells, max(cell_len(head), *(cell.cell_len for cell in cells))) for head, cells in made]


def _total(group: Sequence[_Column]) -> int:
    """The width of some columns, with the gap before each."""
    return sum(_GAP + column.width for column in group)


def _fitted(column: _Column, room: int) -> _Column:
    return _Column(column.head, column.cells, min(column.width, max(room - _GAP, 1)))


def _blocks(groups: Sequence[list[_Column]], room: int) -> list[list[list[_Column]]]:
    """The columns of the metrics in tables that are as wide as `room` allows."""
    blocks: list[list[list[_Column]]] = [[]]
    for group in groups:
        if blocks[-1] and sum(map(_total, blocks[-1])) + _total(group) > room:
            blocks.append([])
        blocks[-1].append(group)
    return blocks


def _kept(heads: Sequence[int], tall: Sequence[int], room: int) -> tuple[int, int]:
    """How many rows and how many tables fit into `room` lines. heads, tall: the lines of each title, and of each row."""
    shown = len(heads)
    while shown > 1 and sum(heads[:shown]) + shown * sum(tall) > room - (shown < len(heads)):
        shown -= 1
    rows = len(tall)
    left = room - (shown < len(heads)) - sum(heads[:shown])
    while rows > 1 and shown * sum(tall[:rows]) > left - (rows < len(tall)):
        rows -= 1
    return rows, shown


def _left_out(count: int, what: str) -> list[str]:
    return [f"{count} more {what}{'s are' if count > 1 else ' is'} in log.txt: the terminal is too low"] if count else []


def _lines(text: str, width: int) -> int:
    return -(-cell_len(text) // width) or 1


def _table(names: Sequence[str], name_width: int, columns: Sequence[_Column]) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    made.add_column(_NAME, width=name_width, overflow="fold")
    for column in columns:
        made.add_column(Text(column.head), width=column.width, overflow="fold", justify="right")
    for row, name in enumerate(names):
        made.add_row(Text(name), *(column.cells[row] for column in columns))
    return made
