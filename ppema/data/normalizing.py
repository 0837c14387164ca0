"""Mean and standard deviation of input fields over the samples of a loader, for `data.normalize`.

A vector [F] has numbers for each feature, an image [C, H, W] for each channel, and any other shape one number for all values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from ppema.data.fields import Field
from ppema.data.loader import Loader
from ppema.errors import DataError

_VALUES, _MOST_ROWS = 2**20, 1024  # values and samples that are read at a time
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Numbers:
    """The numbers that normalise a field, (x - mean) / std: one float32 number for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Spread:
    """The distribution of the values of each of C channels, float64.

    count: the number of values of a channel; mean [C]; squares [C]: the sum of squared deviations from the mean; low, high [C]:
    the smallest and largest value.
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, batch: np.ndarray, field: Field) -> Spread:
        """The spread of `batch`, [n, *shape] of `field` with n ≥ 1."""
        channels = batch.shape[1] if _has_channels(field) else 1
        values = np.moveaxis(batch, 1 if channels > 1 else 0, 0).reshape(channels, -1).astype(np.float64)
        mean = values.mean(axis=1)
        squares = np.square(values - mean[:, None]).sum(axis=1)
        return cls(values.shape[1], mean, squares, values.min(axis=1), values.max(axis=1))

    def merged(self, other: Spread) -> Spread:
        """The spread of the values of both. Chan, Golub and LeVeque 1979, eq. 2.1."""
        count = self.count + other.count
        apart = other.mean - self.mean
        return Spread(
            count,
            self.mean + apart * (other.count / count),
            self.squares + other.squares + np.square(apart) * (self.count * other.count / count),
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    @property
    def constant(self) -> np.ndarray:
        """bool[C]: whether all values of a channel are equal, or their deviation is below the range of float32."""
        return (self.low == self.high) | (np.sqrt(self.squares / self.count) < _SMALLEST)

    @property
    def numbers(self) -> Numbers:
        """Mean and standard deviation √(squares / count), rounded to float32. A constant channel has the deviation 1."""
        std = np.where(self.constant, 1.0, np.sqrt(self.squares / self.count))
        return Numbers(_float32(self.mean), _float32(std))


def normalisable(fields: Sequence[Field]) -> list[Field]:
    """The fields that `data.normalize: true` means: the inputs of dtype float32."""
    return [field for field in fields if field.dtype == "float32" and not field.is_target]


def channel_count(field: Field) -> int:
    """The number of channels of a field, for each of which there is a mean and a deviation."""
    return field.shape[0] if _has_channels(field) else 1


def broadcast(numbers: Sequence[float], field: Field) -> np.ndarray:
    """float32: one number for each channel of `field`, in a shape that broadcasts over its samples."""
    array = np.asarray(numbers, np.float32)
    return array.reshape(-1, 1, 1) if _has_channels(field) and len(field.shape) == 3 else array


def spreads(loader: Loader, fields: Sequence[Field]) -> Mapping[str, Spread]:
    """The spread of each of `fields` over the samples of `loader`, which reads them in order.

    Raises DataError for an unusable sample, and for a value that is not finite.
    """
    found: dict[str, list[Spread]] = {field.name: [] for field in fields}
    positions = {field.name: position for position, field in enumerate(loader.fields) if field.name in found}
    for batch in loader.epoch(0):
        for name, position in positions.items():
            array = batch.arrays[position]
            bad = ~np.isfinite(array)
            if bad.any():
                index = np.argwhere(bad)[0]
                raise DataError(
                    f"{loader.label}: sample {batch.indices[index[0]]}: {name} holds {float(array[tuple(index)]):g}, and has "
                    "no mean: leave the sample out, or fill the value in"
                )
            found[name].append(Spread.of(array, loader.fields[position]))
    return {name: reduce(Spread.merged, parts) for name, parts in found.items()}


def rows_at_a_time(fields: Sequence[Field]) -> int:
    """The number of samples that are read at a time, which limits memory."""
    largest = max(math.prod(field.shape) for field in fields)
    return max(1, min(_MOST_ROWS, _VALUES // max(1, largest)))


def _has_channels(field: Field) -> bool:
    return len(field.shape) in (1, 3) and field.shape[0] > 0


def _float32(numbers: np.ndarray) -> tuple[float, ...]:
    """The numbers rounded to float32, as the shortest decimals that round to the same float32."""
    rounded = np.where(np.abs(numbers) < _SMALLEST, 0, numbers).astype(np.float32)
    return tuple(float(str(number)) for number in rounded)
