"""Writes predictions batch by batch: as an aligned table, JSON lines or CSV, each batch whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal, Protocol, TextIO

import numpy as np

from ppema.errors import Naming, PpemaError, escaped
from ppema.prediction.columns import TableColumn, columns
from ppema.prediction.json_texts import lines
from ppema.prediction.predicted import PredictedBatch

FileFormat = Literal["table", "jsonl", "csv", "npz"]
_SMALLEST_NAME = 8
# A spreadsheet takes a text that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Writer(Protocol):
    """Writes batches to one place."""

    def write(self, batch: PredictedBatch) -> None:
        """Write the samples of `batch`. Raises PpemaError if their outputs have no place in the format."""
        ...


class JsonLines:
    """One JSON object per line and sample, to `stream`. top: the number of most probable classes; 1: no list of them."""

    def __init__(self, stream: TextIO, top: int = 1):
        self._stream, self._top = stream, top

    def write(self, batch: PredictedBatch) -> None:
        """See `Writer`."""
        self._stream.write("\n".join(lines(batch, self._top)) + "\n")
        self._stream.flush()


class CsvLines:
    """A header, and a row for each sample, to `stream`.

    A text that a spreadsheet would take for a formula begins with an apostrophe, which makes it a text.
    """

    def __init__(self, stream: TextIO, top: int = 1):
        self._stream, self._top, self._begun = stream, top, False

    def write(self, batch: PredictedBatch) -> None:
        """See `Writer`."""
        found = columns(batch, self._top)
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if not self._begun:
            rows.writerow([_harmless(column.title) for column in found])
            self._begun = True
        rows.writerows(zip(*map(_cells, found), strict=True))
        self._stream.write(text.getvalue())
        self._stream.flush()


def _cells(column: TableColumn) -> Sequence[str | int]:
    if isinstance(column.values, np.ndarray):
        values = column.values.tolist()
        return [f"{value:.9g}" for value in values] if column.values.dtype.kind == "f" else values
    return [_harmless(value) for value in column.values]


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


class TableLines:
    """Aligned columns for people, to `stream`: texts to the left, numbers to the right.

    width: the most characters of a line; None: no limit. total: the number of samples, if it is known: numbered names then get
    room for all digits. A longer text of a later batch widens its column from there on; beyond the limit, a name loses its
    beginning.
    """

    def __init__(self, stream: TextIO, top: int = 1, width: int | None = None, total: int | None = None):
        self._stream, self._top, self._most, self._total = stream, top, width, total
        self._widths: list[int] = []

    def write(self, batch: PredictedBatch) -> None:
        """See `Writer`. Raises PpemaError also for columns that do not fit into the width."""
        found = columns(batch, self._top)
        cells = [_shown(column) for column in found]
        rows = [] if self._widths else [tuple(column.title for column in found)]
        self._widths = self._fitted(found, cells)
        rows += zip(*cells, strict=True)
        text = [self._line(line, found) for line in rows]
        self._stream.write("\n".join(text) + "\n")
        self._stream.flush()

    def _line(self, line: Sequence[str], found: Sequence[TableColumn]) -> str:
        parts = []
        for text, column, width in zip(line, found, self._widths, strict=True):
            cut = text if len(text) <= width or self._most is None else f"…{text[len(text) - width + 1 :]}"
            parts.append(cut.ljust(width) if column.is_text else cut.rjust(width))
        return "  ".join(parts).rstrip()

    def _fitted(self, found: Sequence[TableColumn], cells: Sequence[Sequence[str]]) -> list[int]:
        before = self._widths or [0] * len(found)
        widths = [
            max(width, len(column.title), column.longest or 0, *map(len, texts))
            for width, column, texts in zip(before, found, cells, strict=True)
        ]
        if not self._widths and self._total is not None and cells[0][-1].endswith("]"):
            widths[0] += max(0, len(str(self._total - 1)) - len(str(len(cells[0]) - 1)))
        if self._most is None:
            return widths
        others = sum(widths[1:]) + 2 * len(widths[1:])
        if self._most - others < _SMALLEST_NAME:
            text = "{} columns need {} characters, the terminal has {}: {format} jsonl or csv"
            raise PpemaError(Naming(text, len(found), others + _SMALLEST_NAME, self._most))
        return [min(widths[0], self._most - others), *widths[1:]]


def _shown(column: TableColumn) -> list[str]:
    if not isinstance(column.values, np.ndarray):
        return [escaped(text) for text in column.values]
    if column.values.dtype.kind != "f":
        return [str(value) for value in column.values.tolist()]
    if "probability" in column.title:
        return [f"{value:.4f}" for value in column.values.tolist()]
    return [f"{value:.6g}".rjust(12) for value in column.values.tolist()]
