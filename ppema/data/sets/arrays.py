"""A data set in memory as whole arrays. Its batches are read without a Python loop."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from ppema.data.fields import Field, FieldNames
from ppema.errors import DataError


class ArrayDataset:
    """Samples as rows of arrays: `arrays[f][i]` is field f of sample i. Inputs come first, then targets.

    arrays: two or more arrays [N, ...] of equal length N ≥ 1; `fields.convert` makes them float32 or int64.
    source: the name of the data in messages, such as a file's path.
    names: the names of the arrays; None: they are counted, and the last array is the target.
    classes: their names by label; None if unknown.

    Raises DataError for fewer than two arrays, for a scalar, for lengths that differ or are 0, and for an array that
    `fields.convert` refuses.
    """

    def __init__(
        self, arrays: Sequence[np.ndarray], source: str, names: FieldNames | None = None, classes: tuple[str, ...] | None = None
    ):
        if len(arrays) < 2:
            raise DataError(f"{source}: expected at least one input and the target, got {len(arrays)}")
        if any(array.ndim == 0 for array in arrays):
            raise DataError(f"{source}: a scalar where an array of samples was expected")
        self.names, self.classes = names, classes
        self._used = names or FieldNames.counted(len(arrays))
        lengths = [len(array) for array in arrays]
        if len(set(lengths)) > 1:
            counts = ", ".join(f"{name} {length}" for name, length in zip(self._used.all, lengths, strict=True))
            raise DataError(f"{source}: the numbers of samples differ: {counts}")
        if lengths[0] == 0:
            raise DataError(f"{source}: the data set is empty")
        self.source = source
        self.arrays = self._converted(arrays)

    def _converted(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        try:
            return self._used.convert(arrays, batch_axes=1)
        except DataError as error:
            raise DataError(f"{self.source}: {error}") from None

    @property
    def fields(self) -> tuple[Field, ...]:
        """Shape, dtype, name and role of each array."""
        return self._used.fields(self.arrays, batch_axes=1)

    def renamed(self, names: FieldNames | None, label: str) -> ArrayDataset:
        """A copy with the same arrays under the `names` of a config. None: "input_0", ..., "target".

        Raises DataError, which starts with `label`, for other numbers of inputs or targets than those of the data set's own
        names, or of arrays if it has none.
        """
        ours = _counts(self._used)
        theirs = _counts(names) if names else (sum(ours) - 1, 1)
        if ours != theirs and (self.names or sum(ours) != sum(theirs)):
            has = " and ".join(f"{n} {what}{'s' * (n > 1)}" for n, what in zip(ours, ("input", "target"), strict=True))
            named = f"name {theirs[0]} and {theirs[1]}" if names else "must name them"
            raise DataError(f"{label}: {self.source} has {has}; data.inputs and data.targets {named}")
        renamed = copy.copy(self)
        renamed.names = names
        renamed._used = names or FieldNames.counted(len(self.arrays))
        renamed.arrays = renamed._converted(self.arrays)
        return renamed

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(array[index]) for array in self.arrays)

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """Copies of the samples `indices`, int64[n], stacked: one array [n, ...] for each field."""
        return tuple(array.take(indices, axis=0) for array in self.arrays)


def _counts(names: FieldNames) -> tuple[int, int]:
    return len(names.inputs), len(names.targets)
