"""Crops and padding: windows of images, at places that may differ from sample to sample."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import BeforeValidator

from ppema.config.section import Count0, Flag
from ppema.config.wording import expecting
from ppema.data.fields import Field
from ppema.data.transforms.draws import Draws
from ppema.data.transforms.transform import Fill, MaskFill, Pair, Transform, filling, size_of

PaddingMode = Literal["constant", "edge", "reflect", "symmetric"]
_AT_A_TIME = 32  # images that are padded, so that their padded copies stay in the cache
Sides = tuple[int, int, int, int]  # left, top, right, bottom


def padded(
    images: np.ndarray,
    sides: Sides,
    fill: np.ndarray,
    mode: PaddingMode = "constant",
    frame: np.ndarray | None = None,
) -> np.ndarray:
    """Images with `sides` pixels more at the left, top, right and bottom. The modes are those of `np.pad`.

    frame: an earlier result for at least as many images, whose memory and constant borders are used again.
    """
    left, top, right, bottom = sides
    if not any(sides):
        return images
    if mode != "constant":
        return np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)), mode)
    height, width = size_of(images)
    if frame is None:
        frame = np.empty((*images.shape[:2], top + height + bottom, left + width + right), images.dtype)
        for border in (frame[:, :, :top], frame[:, :, top + height :], frame[..., :left], frame[..., left + width :]):
            border[:] = fill
    wide = frame[: len(images)]
    wide[:, :, top : top + height, left : left + width] = images
    return wide


def windows(images: np.ndarray, top: np.ndarray, left: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The window of `size` whose first row and column are `top`, `left`, int64[n]."""
    return sliding_window_view(images, size, axis=(2, 3))[np.arange(len(images)), :, top, left]


def _sides(value: Any) -> Any:
    """torchvision's shorthands: n for all sides, [left and right, top and bottom]."""
    if type(value) is int:
        return [value] * 4
    return [*value, *value] if isinstance(value, (list, tuple)) and len(value) == 2 else value


Borders = Annotated[
    tuple[Count0, Count0, Count0, Count0],
    BeforeValidator(_sides),
    expecting("an integer >= 0, [horizontal, vertical] or [left, top, right, bottom]"),
]


def _padding_fault(sides: Sides, mode: str, shape: tuple[int, ...]) -> str | None:
    left, top, right, bottom = sides
    height, width = shape[-2:]
    most = {"reflect": 1, "symmetric": 0}.get(mode)
    if most is not None and (max(top, bottom) > height - most or max(left, right) > width - most):
        return f"padding_mode {mode} can not pad {height} x {width} images by {list(sides)}"
    return None


class Pad(Transform):
    """Borders around every image."""

    random: ClassVar[bool] = False

    padding: Borders
    fill: Fill = 0.0
    padding_mode: PaddingMode = "constant"
    mask_fill: MaskFill = 0

    def fault(self, field: Field) -> str | None:
        return super().fault(field) or _padding_fault(self.padding, self.padding_mode, field.shape)

    def apply(self, images: np.ndarray, drawn: Any) -> np.ndarray:
        return padded(images, self.padding, filling(self.fill, self.mask_fill, images), self.padding_mode)


class CenterCrop(Transform):
    """The middle of every image. Borders of 0 are added to images that are smaller."""

    random: ClassVar[bool] = False

    size: Pair

    def apply(self, images: np.ndarray, drawn: Any) -> np.ndarray:
        sides = _missing(self.size, size_of(images))
        images = padded(images, sides, filling(0.0, 0, images))
        (height, width), (rows, columns) = size_of(images), self.size
        top, left = round((height - rows) / 2), round((width - columns) / 2)
        return images[:, :, top : top + rows, left : left + columns]


class RandomCrop(Transform):
    """A window of `size` at a random place, after `padding`."""

    size: Pair
    padding: Borders | None = None
    pad_if_needed: Flag = False
    fill: Fill = 0.0
    padding_mode: PaddingMode = "constant"
    mask_fill: MaskFill = 0

    def _all_sides(self, size: tuple[int, ...]) -> Sides:
        left, top, right, bottom = self.padding or (0, 0, 0, 0)
        height, width = size[0] + top + bottom, size[1] + left + right
        more = [max(0, wanted - got) * self.pad_if_needed for wanted, got in zip(self.size, (height, width), strict=True)]
        return left + more[1], top + more[0], right + more[1], bottom + more[0]

    def fault(self, field: Field) -> str | None:
        if fault := super().fault(field):
            return fault
        sides = self._all_sides(field.shape[-2:])
        height, width = field.shape[-2] + sides[1] + sides[3], field.shape[-1] + sides[0] + sides[2]
        if height < self.size[0] or width < self.size[1]:
            return (
                f"no window of {self.size[0]} x {self.size[1]} fits into {height} x {width}, the images with their padding: "
                "give a smaller size, more padding, or pad_if_needed"
            )
        return _padding_fault(sides, self.padding_mode, field.shape)

    def draw(self, draws: Draws, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        left, top, right, bottom = self._all_sides(shape[-2:])
        rows, columns = shape[-2] + top + bottom - self.size[0], shape[-1] + left + right - self.size[1]
        return draws.integers(rows + 1), draws.integers(columns + 1)

    def apply(self, images: np.ndarray, drawn: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        top, left = drawn
        sides, fill = self._all_sides(size_of(images)), filling(self.fill, self.mask_fill, images)
        cropped = np.empty((*images.shape[:2], *self.size), images.dtype)
        wide = None
        for start in range(0, len(images), _AT_A_TIME):
            part = slice(start, start + _AT_A_TIME)
            wide = padded(images[part], sides, fill, self.padding_mode, wide)
            cropped[part] = windows(wide, top[part], left[part], self.size)
        return cropped


def _missing(wanted: tuple[int, int], size: tuple[int, int]) -> Sides:
    """The pixels on each side that `size` lacks for `wanted`; the right and bottom get an odd one."""
    rows, columns = (max(0, need - got) for need, got in zip(wanted, size, strict=True))
    return columns // 2, rows // 2, columns - columns // 2, rows - rows // 2
