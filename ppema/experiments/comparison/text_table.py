"""A table of words and numbers, as text of a given width and as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ppema.errors import escaped

GAP = "  "
# The fewest characters to which one leading column is folded, and all of them, to make room for the others.
_LEAST, _NAMES = 10, 24


@dataclass(frozen=True)
class FoldedTable:
    """head, rows: the cells. keys: the number of leading columns, which name a row; the others hold numbers, or else `words`.

    marked: the best cells, as (row, column).
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    keys: int = 1
    words: bool = False
    marked: frozenset[tuple[int, int]] = frozenset()

    def text(self, width: int) -> str:
        """Aligned columns in lines of at most `width` characters.

        Columns that do not fit follow in further blocks, which repeat the leading columns. Cells that do not fit into a block
        are folded over several lines. Marked cells have a star.
        """
        columns = [self._column(index) for index in range(len(self.head))]
        sizes = [max(map(len, column)) for column in columns]
        left = width - sum(sizes[self.keys :]) - len(GAP) * (len(sizes) - self.keys)
        keys = _shrunk(sizes[: self.keys], left if left >= _NAMES else width // 2)
        room = width - sum(keys) - len(GAP) * len(keys)
        blocks: list[list[int]] = []
        left = 0  # of the width of the last block
        for index in range(self.keys, len(sizes)):
            size = sizes[index] = min(sizes[index], room)
            if not blocks or left < size:
                blocks.append([])
                left = room
            blocks[-1].append(index)
            left -= size + len(GAP)
        sizes[: self.keys] = keys
        shown = [self._block(columns, sizes, [*range(self.keys), *block]) for block in blocks or [[]]]
        title = textwrap.fill(escaped(self.title), width)
        return f"{title}\n\n" + "\n\n".join(shown)

    def markdown(self) -> str:
        """A table of Markdown. Marked cells are bold."""
        lines = [self.title, ""]
        aligned = ["---" if index < self.keys or self.words else "---:" for index in range(len(self.head))]
        cells = [
            [f"**{cell}**" if (r, c) in self.marked else cell for c, cell in enumerate(row)] for r, row in enumerate(self.rows)
        ]
        for row in (self.head, aligned, *cells):
            lines.append("| " + " | ".join(escaped(cell).replace("|", "\\|") for cell in row) + " |")
        return "\n".join(lines)

    def _column(self, index: int) -> list[str]:
        """The cells of a column with its head, with a star or its space in each if one is marked."""
        column = [escaped(row[index]) for row in (self.head, *self.rows)]
        if not any(column_ == index for _, column_ in self.marked):
            return column
        return [cell + (" *" if (row - 1, index) in self.marked else GAP) for row, cell in enumerate(column)]

    def _block(self, columns: Sequence[list[str]], sizes: Sequence[int], chosen: Sequence[int]) -> str:
        lines = []
        for row in range(len(self.rows) + 1):
            folded = [_folded(columns[index][row], sizes[index]) for index in chosen]
            for number in range(max(map(len, folded))):
                cells = []
                for index, parts in zip(chosen, folded, strict=True):
                    part = parts[number] if number < len(parts) else ""
                    left = index < self.keys or self.words
                    cells.append(part.ljust(sizes[index]) if left else part.rjust(sizes[index]))
                lines.append(GAP.join(cells).rstrip())
        return "\n".join(lines)


def _shrunk(sizes: Sequence[int], room: int) -> list[int]:
    """The widths of columns that share `room` with their gaps: the widest ones shrink first, none below `_LEAST`."""
    found = list(sizes)
    while sum(found) > room - len(GAP) * (len(found) - 1) and max(found) > _LEAST:
        found[found.index(max(found))] -= 1
    return found


def _folded(cell: str, size: int) -> list[str]:
    """`cell` in parts of at most `size` characters, at spaces if there are some."""
    if len(cell) <= size:
        return [cell]
    return textwrap.wrap(cell, size, break_on_hyphens=False) or [""]
