"""Reads one batch of any data set, in the same way in the loader's thread and in its worker processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ppema.data.dataset import Dataset
from ppema.data.fields import Field, FieldNames, check_fields, to_fields
from ppema.data.seeding import borrowed_generators, seed_generators
from ppema.data.sets.arrays import ArrayDataset
from ppema.errors import DataError
from ppema.user_code.blame import blamed


class Cancelled(Exception):  # noqa: N818  (not an error: the batch is no longer needed)
    """Reading stopped in the middle of a batch because the epoch was closed."""


def describe(dataset: Dataset, label: str, names: FieldNames | None = None) -> tuple[Field, ...]:
    """The fields of sample 0. names: of the fields; None: they are counted.

    The generators are seeded as in epoch 0 of seed 0. Raises DataError, which starts with `label`, if sample 0 is unusable.
    """
    if isinstance(dataset, ArrayDataset):
        return dataset.fields
    with borrowed_generators():
        seed_generators(0, 0, 0)
        arrays = _sample(dataset, 0, names, None, label)
        return (names or FieldNames.counted(len(arrays))).fields(arrays)


def read_batch(
    dataset: Dataset,
    indices: np.ndarray,
    fields: tuple[Field, ...],
    *,
    names: FieldNames | None,
    seed: int,
    epoch: int,
    label: str,
    cancelled: Callable[[], bool],
) -> tuple[np.ndarray, ...]:
    """The samples `indices`, int64[n], stacked: one array [n, *shape] for each of `fields`.

    An ArrayDataset is read by its `batch`; any other data set by `read_into`, which raises DataError and Cancelled.
    """
    if isinstance(dataset, ArrayDataset):
        return dataset.batch(indices)
    arrays = tuple(np.empty((len(indices), *field.shape), field.dtype) for field in fields)
    read_into(arrays, dataset, indices, fields, names=names, seed=seed, epoch=epoch, label=label, cancelled=cancelled)
    return arrays


def read_into(
    arrays: tuple[np.ndarray, ...],
    dataset: Dataset,
    indices: np.ndarray,
    fields: tuple[Field, ...],
    *,
    names: FieldNames | None,
    seed: int,
    epoch: int,
    label: str,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Write the samples `indices`, int64[n], into the first n rows of `arrays`, one [≥ n, *shape] for each of `fields`.

    `random` and `np.random` are seeded from (seed, epoch, index) before each sample, so their draws depend on nothing else.
    A data set that uses other generators seeds them itself.

    Raises DataError, which names `label` and the sample, for a sample that raises or differs from `fields`. Raises Cancelled
    if `cancelled()` is true before a sample.
    """
    with borrowed_generators():
        for row, index in enumerate(indices.tolist()):
            if cancelled():
                raise Cancelled
            seed_generators(seed, epoch, index)
            for array, value in zip(arrays, _sample(dataset, index, names, fields, label), strict=True):
                array[row] = value


def _sample(
    dataset: Any, index: int, names: FieldNames | None, fields: tuple[Field, ...] | None, label: str
) -> tuple[np.ndarray, ...]:
    try:
        arrays = to_fields(dataset[index], names)
        if fields is not None:
            check_fields(arrays, fields)
        return arrays
    except (Exception, SystemExit) as error:
        raise DataError(f"{label}: sample {index}: {blamed(error)}") from error
