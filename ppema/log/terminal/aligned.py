"""Tables of aligned columns, as lines of text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ppema.errors import escaped
from ppema.log.figure_texts import figure

_NUMBER = re.compile(r"[0-9,.]+(e[+-][0-9]+)?|nan|-")


def aligned(head: Sequence[str], rows: Sequence[Sequence[object]], width: int | None) -> list[str]:
    """The lines of a table: numbers to the right, words to the left.

    Columns that do not fit into `width` follow below, beside the first column again. width: None for any.
    """
    cells = [list(head), *([figure(cell) if isinstance(cell, float) else escaped(str(cell)) for cell in row] for row in rows)]
    columns = []
    for column in zip(*cells, strict=True):
        longest = max(map(len, column))
        number = all(_NUMBER.fullmatch(cell) for cell in column[1:])
        columns.append([cell.rjust(longest) if number else cell.ljust(longest) for cell in column])
    return ["  ".join(row).rstrip() for part in _parts(columns, width) for row in zip(*part, strict=True)]


def _parts(columns: list[list[str]], width: int | None) -> list[list[list[str]]]:
    """Columns that fit beside each other in `width`, or in any width if it is None; the first column is in each part."""
    first, *others = columns
    parts = [[first]]
    for column in others:
        if width is not None and len(parts[-1]) > 1 and sum(len(each[0]) + 2 for each in parts[-1]) + len(column[0]) > width:
            parts.append([first])
        parts[-1].append(column)
    return parts
