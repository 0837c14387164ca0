"""Inputs in a CSV table, with the columns of the training data, with or without the target."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ppema.data.given.preparation import Preparation
from ppema.data.inputs import BatchTurns, InputBatch
from ppema.data.sets.csv_table import CellError, CsvRow, csv_rows, row_numbers
from ppema.errors import DataError, printable


@dataclass(frozen=True)
class CsvForm:
    """The form of the run's tables, as in `data.sets.csv_table.csv`.

    columns: the names of the input columns in their order; None if they are not known.
    """

    header: bool = True
    delimiter: str = ","
    target: str | int | None = None
    columns: tuple[str, ...] | None = None

    def with_columns_of(self, path: str) -> CsvForm:
        """The same form with the columns of the run's own table; without, if that has no header or is not there."""
        if self.header:
            with suppress(DataError):
                first = next(csv_rows(path, self.delimiter), None)
                if first is not None:
                    names = [cell.strip() for cell in first.cells]
                    left = names.index(self.target) if self.target in names else self.target
                    kept = [name for place, name in enumerate(names) if not isinstance(left, int) or place != left % len(names)]
                    return CsvForm(self.header, self.delimiter, self.target, tuple(kept))
        return self


class CsvInputs:
    """The rows of the file `path` as float32 [F] of the model's only input. The target's column is left out if it is there.

    Raises DataError for a model with another kind of input, for an empty file, and for other columns than those of training:
    for another number, and, where the training table has a header and is still there, for other names or another order.
    """

    def __init__(self, path: str, how: Preparation, form: CsvForm):
        self._path, self._how, self._form = path, how, form
        if len(how.fields) != 1 or how.fields[0].dtype != "float32":
            forms = ", ".join(f"{field.name} {field}" for field in how.fields)
            raise DataError(f"{path}: a table gives one vector of float32, the model takes {forms}: give an .npz archive")
        first = next(csv_rows(path, form.delimiter), None)
        if first is None:
            raise DataError(f"{path}: the file is empty")
        self._width = len(first.cells)
        self._left = self._target_column([cell.strip() for cell in first.cells])
        if next(self._samples(), None) is None:
            raise DataError(f"{path}: there is no row after the header")

    @property
    def total(self) -> None:
        """None: the number of rows is not known before the end."""

    def batches(self, batch_size: int, turns: BatchTurns) -> Iterator[InputBatch]:
        """See `InputSource`. Samples are named "file.csv:2", by their lines."""
        prepared = self._how.started(self._path)
        rows = enumerate(self._samples())
        while some := list(itertools.islice(rows, batch_size)):
            if not turns.mine():
                continue
            values, names, failed, numbers = list[list[float]](), list[str](), list[tuple[str, str]](), list[int]()
            for number, row in some:
                try:
                    values.append(self._values(row))
                    names.append(f"{self._path}:{row.line}")
                    numbers.append(number)
                except CellError as error:
                    if self._how.on_error == "stop":
                        raise DataError(f"{self._path}:{row.line}:{error.column + 1}: {error.message}") from None
                    failed.append((f"{self._path}:{row.line}", f"column {error.column + 1}: {error.message}"))
            if not values:
                yield InputBatch((), (), tuple(failed))
                continue
            made = prepared.batch(names, np.array(numbers), [np.array(values, np.float32)])
            yield InputBatch(made.names, made.arrays, (*failed, *made.failed))

    def _samples(self) -> Iterator[CsvRow]:
        return itertools.islice(csv_rows(self._path, self._form.delimiter), int(self._form.header), None)

    def _values(self, row: CsvRow) -> list[float]:
        """The inputs of a row. Raises CellError with the number of the file's column."""
        if len(row.cells) != self._width:
            column = min(self._width, len(row.cells)) - 1
            raise CellError(column, f"expected {self._width} fields, got {len(row.cells)}")
        places = [place for place in range(self._width) if place != self._left]
        try:
            return row_numbers([row.cells[place] for place in places])
        except CellError as error:
            raise CellError(places[error.column], error.message) from None

    def _target_column(self, names: list[str]) -> int | None:
        """The place of the target among the columns; None without it."""
        form, shape = self._form, self._how.fields[0].shape
        wanted = shape[0] if len(shape) == 1 and not self._how.transforms else None  # transforms may change the number
        if form.columns is not None:
            wanted = len(form.columns)
        left = None
        if isinstance(form.target, str):
            left = names.index(form.target) if form.target in names else None
        elif form.target is not None and wanted is not None and len(names) == wanted + 1:
            left = form.target % len(names)
        kept = [name for place, name in enumerate(names) if place != left]
        if wanted is not None and len(kept) != wanted:
            without = f" besides the target {printable(names[left])!r}" if left is not None and form.header else ""
            raise DataError(f"{self._path}: {len(kept)} columns{without}, the model takes {wanted}")
        if form.header:
            for place, (name, trained) in enumerate(zip(kept, form.columns or (), strict=False)):
                if name != trained:
                    raise DataError(
                        f"{self._path}: input column {place + 1} is {printable(name)!r}, that of the training table is "
                        f"{printable(trained)!r}: the order must be that of training"
                    )
        return left
