"""Reads CSV files of numbers: each row is a sample, one column the target, the other columns one input vector."""

from __future__ import annotations

import csv as csv_reader
import io
import itertools
import math
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ppema.data.sets.arrays import ArrayDataset
from ppema.data.sets.files import existing_file, open_binary
from ppema.errors import DataError, one_line, printable
from ppema.user_code.names import did_you_mean

FLOAT32_MAX = float(np.finfo(np.float32).max)
EXACT = 2**53  # float64 represents every integer up to this one


@dataclass(frozen=True)
class CsvRow:
    """One row of the file. cells: the text of its fields; line: the line on which it ends, counted from 1."""

    line: int
    cells: list[str]


def csv(
    path: str,
    target: str | int,
    header: bool = True,
    delimiter: str = ",",
    target_dtype: Literal["int64", "float32"] = "int64",
) -> ArrayDataset:
    """Inputs float32 [F], all other columns in the file's order, and targets [] of `target_dtype`.

    path: UTF-8 text, plain or gzipped. Blank lines are skipped.
    target: the name of the target column in the header, or its number from 0; -1 is the last column.
    header: whether the first row holds names.
    delimiter: the character between two fields.
    target_dtype: "int64" for labels, "float32" for real numbers.

    Raises DataError `path:line:column: ...` for a bad field or row; columns count from 1. A field is bad if it is no finite
    number in float32's range. An int64 target is bad if it is no integer. A row is bad if its length differs from the first.
    Raises DataError, which names the file, if the target column, any input column, or any sample is missing.
    """
    rows = csv_rows(path, delimiter)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    names = [name.strip() for name in first.cells] if header else []
    width = len(first.cells)
    column = _target_column(path, target, names, width)
    if width < 2:
        raise DataError(f"{path}: a single column; expected inputs and a target (is the delimiter '{delimiter}'?)")
    values = array("d")
    integer_target = column if target_dtype == "int64" else None
    for row in rows if header else itertools.chain([first], rows):
        if len(row.cells) != width:
            raise DataError(f"{path}:{row.line}:{min(width, len(row.cells))}: expected {width} fields, got {len(row.cells)}")
        try:
            values.extend(row_numbers(row.cells, integer_target))
        except CellError as error:
            named = f"'{printable(names[error.column])}': " if header else ""
            hint = "; if these are names, set header: true" if row is first else ""
            raise DataError(f"{path}:{row.line}:{error.column + 1}: {named}{error.message}{hint}") from None
    if not values:
        raise DataError(f"{path}: the data set is empty: there is no row after the header")
    table = np.frombuffer(values, np.float64).reshape(-1, width)
    inputs = np.delete(table, column, axis=1).astype(np.float32)
    return ArrayDataset((inputs, table[:, column].astype(target_dtype)), path)


class CellError(Exception):
    """A fault of one field of a row. column: the field's number, from 0."""

    def __init__(self, column: int, message: str):
        self.column = column
        self.message = message
        super().__init__(message)


def csv_rows(path: str, delimiter: str) -> Iterator[CsvRow]:
    """The rows of the file `path` that are not blank. Raises MissingError, and DataError for what is no CSV text."""
    found = existing_file(path)
    line = 0
    try:
        with io.TextIOWrapper(open_binary(found), encoding="utf-8-sig", newline="") as text:
            reader = csv_reader.reader(text, delimiter=delimiter)
            for cells in reader:
                line = reader.line_num
                if cells:
                    yield CsvRow(line, cells)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {one_line(error)}") from error
    except (csv_reader.Error, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}:{line + 1}: {one_line(error)}") from error


def _target_column(path: str, target: str | int, names: list[str], width: int) -> int:
    if isinstance(target, int):
        if not -width <= target < width:
            raise DataError(f"{path}: no column {target}: there are {width}, numbered from 0")
        return target % width
    if not names:
        raise DataError(f"{path}: target '{target}' is a name, but with header: false columns have only numbers, from 0")
    if names.count(target) != 1:
        meant = did_you_mean(target, names) or f"; known: {', '.join(map(printable, names))}"
        fault = f"{names.count(target)} columns are named '{target}'" if target in names else f"no column '{target}'{meant}"
        raise DataError(f"{path}:1: {fault}")
    return names.index(target)


def row_numbers(cells: list[str], integer_column: int | None = None) -> list[float]:
    """The numbers of a row; those of `integer_column` must be integers. Raises CellError for the first bad field."""
    values = []
    for column, cell in enumerate(cells):
        try:
            value = float(cell)
        except ValueError:
            value = None
        if value is None or "_" in cell:  # float() accepts 1_000, as Python source does
            raise CellError(column, f"not a number: '{printable(cell)}'" if cell.strip() else "no value")
        if not math.isfinite(value):
            raise CellError(column, f"not a finite number: '{printable(cell)}'")
        if column == integer_column:
            if not value.is_integer() or abs(value) > EXACT:
                raise CellError(column, f"not an integer: '{printable(cell)}'; for other targets set target_dtype: float32")
        elif abs(value) > FLOAT32_MAX:
            raise CellError(column, f"beyond the range of float32: '{printable(cell)}'")
        values.append(value)
    return values
