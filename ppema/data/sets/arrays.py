"""A data set in memory as whole arrays. Its batches are read without a Python loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppema.data.fields import Field, convert, field_name
from ppema.errors import DataError


class ArrayDataset:
    """Samples as rows of arrays: `arrays[f][i]` is field f of sample i; the last array holds the targets.

    arrays: two or more arrays [N, ...] of equal length N ≥ 1; `fields.convert` makes them float32 or int64.
    source: the name of the data in messages, such as a file's path.

    Raises DataError for fewer than two arrays, for a scalar, for lengths that differ or are 0, and for an array that
    `fields.convert` refuses.
    """

    def __init__(self, arrays: Sequence[np.ndarray], source: str):
        if len(arrays) < 2:
            raise DataError(f"{source}: expected at least one input and the target, got {len(arrays)}")
        if any(array.ndim == 0 for array in arrays):
            raise DataError(f"{source}: a scalar where an array of samples was expected")
        lengths = [len(array) for array in arrays]
        if len(set(lengths)) > 1:
            counts = ", ".join(f"{field_name(i, len(lengths))} {length}" for i, length in enumerate(lengths))
            raise DataError(f"{source}: the numbers of samples differ: {counts}")
        if lengths[0] == 0:
            raise DataError(f"{source}: the data set is empty")
        converted = []
        for position, array in enumerate(arrays):
            try:
                converted.append(convert(array, target=position == len(arrays) - 1, batch_axes=1))
            except DataError as error:
                raise DataError(f"{source}: {field_name(position, len(arrays))}: {error}") from None
        self.arrays = tuple(converted)
        self.source = source

    @property
    def fields(self) -> tuple[Field, ...]:
        """The shape and dtype of each field."""
        return tuple(Field(array.shape[1:], array.dtype.name) for array in self.arrays)

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(array[index]) for array in self.arrays)

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """Copies of the samples `indices`, int64[n], stacked: one array [n, ...] for each field."""
        return tuple(np.take(array, indices, axis=0) for array in self.arrays)
