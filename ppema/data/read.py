"""Reads one batch of any data set, in the same way in the loader's thread and in its worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ppema.data.dataset import Dataset
from ppema.data.fields import Field, FieldNames, check_fields, check_rows, to_fields
from ppema.data.layout import Collate, Layout, batch_shape
from ppema.data.processes.shared import ArrayForm
from ppema.data.seeding import borrowed_generators, seed_generators
from ppema.data.sets.arrays import ArrayDataset
from ppema.errors import DataError
from ppema.user_code.blame import blamed

T = TypeVar("T")
# Returns arrays of these forms, for the caller to fill.
Allocate = Callable[[Sequence[ArrayForm]], tuple[np.ndarray, ...]]


class Cancelled(Exception):  # noqa: N818  (not an error: the batch is no longer needed)
    """Reading stopped in the middle of a batch because the epoch was closed."""


def empty(forms: Sequence[ArrayForm]) -> tuple[np.ndarray, ...]:
    """New arrays of these forms."""
    return tuple(np.empty(form.shape, form.dtype) for form in forms)


@dataclass(frozen=True)
class BatchReader:
    """Reads batches of `dataset`, whose samples have `fields`. seed: of the samples; label: the name of the data in messages.

    `random` and `np.random` are seeded from (seed, epoch, index) before each sample, so that its draws depend on nothing else.
    They are seeded again before a collate function, from the first sample and the size of the batch. A data set that uses
    other generators seeds them itself.
    """

    dataset: Dataset
    layout: Layout
    fields: tuple[Field, ...]
    seed: int
    label: str

    @classmethod
    def open(cls, dataset: Dataset, layout: Layout, seed: int, label: str) -> BatchReader:
        """The reader with the fields of sample 0, and the shapes that `layout` declares. Collate gets sample 0 alone.

        The generators are seeded as in epoch 0 of seed 0. Raises DataError, which starts with `label`, if sample 0 is
        unusable. Raises LayoutError if `layout` does not fit it.
        """
        if isinstance(dataset, ArrayDataset) and layout.collate is None:
            dataset = dataset.renamed(layout.names, label)
            fields = dataset.fields
        else:
            reader = cls(dataset, layout, (), 0, label)
            with borrowed_generators():
                arrays = next(reader._rows(0, [0])) if layout.collate is None else reader._collated(layout.collate, 0, [0])
            names = layout.names or FieldNames.counted(len(arrays))
            fields = names.fields(arrays, batch_axes=int(layout.collate is not None))
        return cls(dataset, layout, layout.declared(fields), seed, label)

    @property
    def arrays(self) -> tuple[np.ndarray, ...] | None:
        """All samples, if batches are rows of arrays in memory; otherwise None."""
        return self._in_memory.arrays if self._in_memory else None

    @property
    def known(self) -> Mapping[str, np.ndarray] | None:
        """All samples by field, [N, ...], if they are arrays in memory; None for other data, which must be read."""
        return None if self.arrays is None else {each.name: array for each, array in zip(self.fields, self.arrays, strict=True)}

    @property
    def _in_memory(self) -> ArrayDataset | None:
        plain = self.layout.collate is None and self.layout.padding is None
        return self.dataset if plain and isinstance(self.dataset, ArrayDataset) else None

    def batch(
        self,
        epoch: int,
        indices: np.ndarray,
        allocate: Allocate = empty,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[np.ndarray, ...]:
        """The samples `indices`, int64[n], in arrays of `allocate`: one [n, ...] for each of `fields`.

        Raises DataError, one line that starts with `label`, for a sample that raises or differs from `fields`, for samples
        that do not stack, and for a collate function that raises or does not return the batch. Raises Cancelled if
        `cancelled()` is true before a sample.
        """
        if (whole := self._in_memory) is not None:
            return whole.batch(indices)
        numbers = indices.tolist()
        with borrowed_generators():
            if self.layout.collate is not None:
                made = self._collated(self.layout.collate, epoch, numbers, cancelled)
                # A collate function may use its arrays again for the next batch.
                arrays = allocate([ArrayForm(array.shape, array.dtype.name) for array in made])
                for array, value in zip(arrays, made, strict=True):
                    array[...] = value
                return arrays
            rows = self._rows(epoch, numbers, cancelled)
            if any(-1 in field.shape for field in self.fields):
                return self._padded(list(rows), numbers, allocate)
            arrays = allocate([ArrayForm((len(numbers), *field.shape), field.dtype) for field in self.fields])
            for number, row in enumerate(rows):
                for array, value in zip(arrays, row, strict=True):
                    array[number] = value
            return arrays

    def _padded(self, rows: list[tuple[np.ndarray, ...]], indices: list[int], allocate: Allocate) -> tuple[np.ndarray, ...]:
        padding, forms = self.layout.padding, []
        for field, column in zip(self.fields, zip(*rows, strict=True), strict=True):
            try:
                shape = batch_shape(field, [value.shape for value in column], indices, padding)
            except DataError as error:
                raise DataError(f"{self.label}: {error}") from None
            forms.append(ArrayForm((len(rows), *shape), field.dtype))
        arrays = allocate(forms)
        for field, array, column in zip(self.fields, arrays, zip(*rows, strict=True), strict=True):
            if padding is not None:
                array[...] = padding.values.get(field.name, 0)
            for number, value in enumerate(column):
                array[(number, *map(slice, value.shape))] = value
        return arrays

    def _rows(
        self, epoch: int, indices: list[int], cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """The arrays of each sample. The caller has borrowed the generators."""

        def converted(sample: Any) -> tuple[np.ndarray, ...]:
            arrays = to_fields(sample, self.layout.names, declared=self.layout.shapes)
            if self.fields:
                check_fields(arrays, self.fields)
            return arrays

        return self._samples(epoch, indices, cancelled, converted)

    def _collated(
        self, collate: Collate, epoch: int, indices: list[int], cancelled: Callable[[], bool] = lambda: False
    ) -> tuple[np.ndarray, ...]:
        """The arrays [n, ...] that `collate` returns. The caller has borrowed the generators."""
        samples = list(self._samples(epoch, indices, cancelled, lambda sample: sample))
        seed_generators(self.seed, epoch, indices[0], len(indices))
        try:
            arrays = to_fields(collate(samples), self.layout.names, batch_axes=1, declared=self.layout.shapes)
            check_rows(arrays, self.layout.names or FieldNames.counted(len(arrays)), len(indices))
            if self.fields:
                check_fields(arrays, self.fields, batch_axes=1)
            return arrays
        except (Exception, SystemExit) as error:
            ends = f"samples {indices[0]} ... {indices[-1]}" if len(indices) > 1 else f"sample {indices[0]}"
            raise DataError(f"{self.label}: data.collate of {ends}: {blamed(error)}") from error

    def _samples(
        self, epoch: int, indices: list[int], cancelled: Callable[[], bool], convert: Callable[[Any], T]
    ) -> Iterator[T]:
        for index in indices:
            if cancelled():
                raise Cancelled
            seed_generators(self.seed, epoch, index)
            try:
                sample = convert(self.dataset[index])
            except (Exception, SystemExit) as error:
                raise DataError(f"{self.label}: sample {index}: {blamed(error)}") from error
            yield sample
