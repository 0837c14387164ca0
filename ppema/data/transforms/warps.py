"""Rotation, translation, scaling and shear: each pixel is read at a linear function of its place."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator

from ppema.config.wording import expecting
from ppema.data.transforms.crops import padded
from ppema.data.transforms.draws import Draws
from ppema.data.transforms.transform import (
    Degrees,
    Fill,
    Finite,
    Interpolation,
    MaskFill,
    Probability,
    Ratios,
    Transform,
    around,
    filling,
    rising,
    size_of,
)


def inverse_matrix(
    degrees: np.ndarray,
    shift: tuple[np.ndarray, np.ndarray],
    scale: np.ndarray,
    shear: tuple[np.ndarray, np.ndarray],
    centre: np.ndarray,
) -> np.ndarray:
    """float64[n, 2, 3]: from a place (x, y, 1) of the output to its place in the input, both relative to the image's middle.

    The output is the input sheared by `shear` degrees in x and y, scaled, rotated clockwise by `degrees`, all about `centre`
    (x, y), and shifted by `shift` (x, y). Each array is float64[n]. The order is that of torchvision's `affine`.
    """
    angle, x, y = np.radians(degrees), np.radians(shear[0]), np.radians(shear[1])
    a, b = np.cos(angle - y) / np.cos(y), -np.cos(angle - y) * np.tan(x) / np.cos(y) - np.sin(angle)
    c, d = np.sin(angle - y) / np.cos(y), -np.sin(angle - y) * np.tan(x) / np.cos(y) + np.cos(angle)
    # The determinant of [[a, b], [c, d]] is 1.
    inverse = np.stack([np.stack([d, -b], -1), np.stack([-c, a], -1)], -2) / scale[:, None, None]
    moved = centre + np.stack(np.broadcast_arrays(*shift), -1)
    offset = centre - (inverse @ moved[..., None])[..., 0]
    return np.concatenate([inverse, offset[..., None]], -1)


def warped(images: np.ndarray, matrices: np.ndarray, interpolation: Interpolation, fill: np.ndarray) -> np.ndarray:
    """Images [n, C, H, W] read at the places that `matrices`, float64[n, 2, 3], give. `fill` surrounds them.

    Integers are always read at the nearest pixel. Half a pixel beyond the border, "bilinear" mixes border and fill.
    """
    height, width = size_of(images)
    framed = padded(images, (1, 1, 2, 2), fill)  # the last one is the neighbour of the border beyond
    x, y = np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2
    m = matrices[:, :, :, None, None]
    # From the middle of the image to pixels of the frame.
    across = np.clip(m[:, 0, 0] * x + m[:, 0, 1] * y[:, None] + m[:, 0, 2] + (width / 2 - 0.5), -1, width) + 1
    down = np.clip(m[:, 1, 0] * x + m[:, 1, 1] * y[:, None] + m[:, 1, 2] + (height / 2 - 0.5), -1, height) + 1
    row = framed.shape[3]
    plane = row * framed.shape[2]
    n, channels = images.shape[:2]
    first = (np.arange(n * channels) * plane).reshape(n, channels, 1, 1)
    flat = framed.reshape(-1)

    def read(places: np.ndarray) -> np.ndarray:
        return np.take(flat, first + places[:, None])

    if interpolation == "nearest" or images.dtype.kind == "i":
        # Halves go to the even pixel of the image, which is odd in the frame.
        return read((np.rint(down - 1) + 1).astype(np.int64) * row + (np.rint(across - 1) + 1).astype(np.int64))
    top, left = np.floor(down), np.floor(across)
    low, right = (down - top).astype(np.float32)[:, None], (across - left).astype(np.float32)[:, None]
    places = top.astype(np.int64) * row + left.astype(np.int64)
    upper = read(places) * (1 - right) + read(places + 1) * right
    lower = read(places + row) * (1 - right) + read(places + row + 1) * right
    return upper * (1 - low) + lower * low


Shears = Annotated[
    tuple[Finite, Finite] | tuple[Finite, Finite, Finite, Finite],
    AfterValidator(rising),
    around(0.0),
    expecting("degrees: a number >= 0, [least, most], or [least x, most x, least y, most y]"),
]
Centre = Annotated[tuple[Finite, Finite], expecting("[x, y] in pixels")]


def _about(centre: tuple[float, float] | None, shape: tuple[int, ...]) -> np.ndarray:
    """`centre` relative to the image's middle."""
    return np.zeros(2) if centre is None else np.array([centre[0] - shape[-1] / 2, centre[1] - shape[-2] / 2])


class RandomRotation(Transform):
    """Rotates counter-clockwise by an angle in `degrees`, about `center`, [x, y] from the upper left corner, or the middle."""

    in_parts: ClassVar[bool] = True

    degrees: Degrees
    interpolation: Interpolation = "nearest"
    center: Centre | None = None
    fill: Fill = 0.0
    mask_fill: MaskFill = 0

    def draw(self, draws: Draws, shape: tuple[int, ...]) -> np.ndarray:
        angle = draws.uniform(*self.degrees)
        still = np.zeros_like(angle)
        return inverse_matrix(-angle, (still, still), still + 1, (still, still), _about(self.center, shape))

    def apply(self, images: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        return warped(images, drawn, self.interpolation, filling(self.fill, self.mask_fill, images))


class RandomAffine(Transform):
    """Rotates clockwise, shifts, scales and shears.

    translate: the largest shifts, as shares of width and height; shear: degrees, in x, or in x and y.
    """

    in_parts: ClassVar[bool] = True

    degrees: Degrees
    translate: Annotated[tuple[Probability, Probability], expecting("[horizontal, vertical], two numbers in [0, 1]")] | None = (
        None
    )
    scale: Ratios | None = None
    shear: Shears | None = None
    interpolation: Interpolation = "nearest"
    fill: Fill = 0.0
    center: Centre | None = None
    mask_fill: MaskFill = 0

    def draw(self, draws: Draws, shape: tuple[int, ...]) -> np.ndarray:
        angle = draws.uniform(*self.degrees)
        most = self.translate or (0.0, 0.0)
        shift = [np.rint(draws.uniform(-share * side, share * side)) for share, side in zip(most, shape[:-3:-1], strict=True)]
        scale = draws.uniform(*(self.scale or (1.0, 1.0)))
        low_x, high_x, low_y, high_y = (*(self.shear or ()), 0.0, 0.0, 0.0, 0.0)[:4]
        shear = draws.uniform(low_x, high_x), draws.uniform(low_y, high_y)
        return inverse_matrix(angle, (shift[0], shift[1]), scale, shear, _about(self.center, shape))

    def apply(self, images: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        return warped(images, drawn, self.interpolation, filling(self.fill, self.mask_fill, images))
