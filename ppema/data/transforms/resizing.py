"""Resizing of images, or of boxes in them, as a weighted sum of rows and then of columns."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import BeforeValidator

from ppema.config.section import Count, Flag
from ppema.config.wording import expecting
from ppema.data.transforms.boxes import drawn_sides
from ppema.data.transforms.draws import Draws
from ppema.data.transforms.transform import Interpolation, Pair, Ratios, Shares, Transform, size_of


class Taps(NamedTuple):
    """Each of `out` numbers is a sum of weights [n, out, k] times the numbers at places [n, out, k]. n may be 1 for all."""

    places: np.ndarray
    weights: np.ndarray


def taps(length: int, start: np.ndarray, span: np.ndarray, out: int, *, antialias: bool, widest: int) -> Taps:
    """Linear interpolation from the intervals [start, start + span), float64[n], of a row of `length` to `out` numbers.

    Pixels are unit intervals, and numbers belong to their centres. With `antialias`, a reduction by r > 1 weighs the pixels by
    a triangle of half width r instead of 1, as Pillow does. Pixels outside of the interval have no weight; the other weights
    are scaled to the sum 1. widest: the largest span that may occur. It alone decides the number of taps.
    """
    ratio = span[:, None] / out
    support = np.maximum(ratio, 1.0) if antialias else np.ones_like(ratio)
    centre = start[:, None] + (np.arange(out) + 0.5) * ratio
    count = 2 * math.ceil(max(widest / out, 1.0) if antialias else 1.0) + 1
    places = np.floor(centre - support).astype(np.int64)[:, :, None] + np.arange(count)
    weights = np.maximum(0.0, 1.0 - np.abs(places + 0.5 - centre[:, :, None]) / support[:, :, None])
    inside = (places >= start[:, None, None]) & (places < (start + span)[:, None, None])
    weights = np.where(inside, weights, 0.0)
    weights /= weights.sum(axis=2, keepdims=True)
    return Taps(np.clip(places, 0, length - 1), weights.astype(np.float32))


def nearest(length: int, start: np.ndarray, span: np.ndarray, out: int) -> Taps:
    """The taps that take the pixel below the centre of each of `out` numbers: one of weight 1."""
    centre = start[:, None] + (np.arange(out) + 0.5) * (span[:, None] / out)
    places = np.clip(np.floor(centre).astype(np.int64), 0, length - 1)[:, :, None]
    return Taps(places, np.ones(places.shape, np.float32))


def resampled_rows(images: np.ndarray, rows: Taps) -> np.ndarray:
    """Images [n, C, H, W] as [n, C, out, W]. One tap copies, and keeps integers."""
    n, channels, height, width = images.shape
    flat = np.ascontiguousarray(images).reshape(n * channels * height, width)
    first = (np.arange(n * channels) * height).reshape(n, channels, 1)
    total = None
    for k in range(rows.places.shape[2]):
        taken = np.take(flat, first + rows.places[:, None, :, k], axis=0)
        if rows.places.shape[2] > 1:
            taken *= rows.weights[:, None, :, k, None]
        total = taken if total is None else np.add(total, taken, out=total)
    assert total is not None
    return total


def resampled(images: np.ndarray, rows: Taps, columns: Taps) -> np.ndarray:
    """Images [n, C, H, W] as [n, C, out rows, out columns]."""
    turned = resampled_rows(resampled_rows(images, rows).swapaxes(2, 3), columns)
    return np.ascontiguousarray(turned.swapaxes(2, 3))


def _resized(
    images: np.ndarray, boxes: tuple[np.ndarray, ...], out: tuple[int, int], interpolation: str, antialias: bool
) -> np.ndarray:
    """The boxes (top, height, left, width), float64[n] each, of images, resized to `out`. Integers: always by `nearest`."""
    sides = []
    for axis, length in enumerate(size_of(images)):
        start, span = boxes[2 * axis : 2 * axis + 2]
        if interpolation == "nearest" or images.dtype.kind == "i":
            sides.append(nearest(length, start, span, out[axis]))
        else:
            sides.append(taps(length, start, span, out[axis], antialias=antialias, widest=length))
    return resampled(images, *sides)


def _one_side(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value


NewSize = Annotated[
    Count | tuple[Count, Count],
    BeforeValidator(_one_side),
    expecting("an integer >= 1, for the shorter side, or [height, width]"),
]


class Resize(Transform):
    """Every image in another size. One number is for the shorter side; the other side then keeps the proportions."""

    random: ClassVar[bool] = False
    in_parts: ClassVar[bool] = True

    size: NewSize
    interpolation: Interpolation = "bilinear"
    antialias: Flag = True

    def _out(self, size: tuple[int, int]) -> tuple[int, int]:
        if not isinstance(self.size, int):
            return self.size
        height, width = size
        longer = int(self.size * max(size) / min(size))
        return (self.size, longer) if height <= width else (longer, self.size)

    def apply(self, images: np.ndarray, drawn: Any) -> np.ndarray:
        height, width = size_of(images)
        whole = tuple(np.array([float(number)]) for number in (0, height, 0, width))
        if self._out((height, width)) == (height, width):
            return images
        return _resized(images, whole, self._out((height, width)), self.interpolation, self.antialias)


class RandomResizedCrop(Transform):
    """A random box of every image, resized to `size`: Szegedy et al. 2015, "Going deeper with convolutions", section 6.

    scale: least and most share of the image's area; ratio: of width to height. After ten boxes that do not fit: the largest
    box in the middle with a ratio inside `ratio`.
    """

    in_parts: ClassVar[bool] = True

    size: Pair
    scale: Shares = (0.08, 1.0)
    ratio: Ratios = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"
    antialias: Flag = True

    def draw(self, draws: Draws, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """Top, height, left and width of each box, float64[n]."""
        height, width = shape[-2:]
        columns, rows, valid = drawn_sides(draws, (height, width), self.scale, self.ratio, (width, height))
        inside = min(max(width / height, self.ratio[0]), self.ratio[1])
        rows = np.where(valid, rows, min(height, round(width / inside)))
        columns = np.where(valid, columns, min(width, round(height * inside)))
        top, left = draws.integers(height - rows + 1), draws.integers(width - columns + 1)
        top, left = np.where(valid, top, (height - rows) // 2), np.where(valid, left, (width - columns) // 2)
        return tuple(number.astype(np.float64) for number in (top, rows, left, columns))

    def apply(self, images: np.ndarray, drawn: tuple[np.ndarray, ...]) -> np.ndarray:
        return _resized(images, drawn, self.size, self.interpolation, self.antialias)
