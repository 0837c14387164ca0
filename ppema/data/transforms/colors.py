"""Brightness, contrast, saturation and hue of images in [0, 1]."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator

from ppema.config.section import NotNegative
from ppema.config.sections.data_sets import Channels
from ppema.config.wording import expecting
from ppema.data.fields import Field
from ppema.data.transforms.draws import Draws
from ppema.data.transforms.transform import Finite, Transform, around, rising

# ITU-R Recommendation BT.601, as Pillow and torchvision have it.
LUMA = np.array([0.2989, 0.587, 0.114], np.float32)


def grey(images: np.ndarray) -> np.ndarray:
    """The luma [n, 1, H, W] of images with one or three channels."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, i : i + 1] * LUMA[i] for i in range(3))
    return red + green + blue


def blended(images: np.ndarray, others: np.ndarray | float, factor: np.ndarray) -> np.ndarray:
    """factor·images + (1 - factor)·others, clipped to [0, 1]. factor: float64[n]."""
    each = factor.astype(np.float32)[:, None, None, None]
    mixed = each * images
    mixed += (1 - each) * others
    return np.clip(mixed, 0, 1, out=mixed)


def brightness(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Black for factor 0."""
    return blended(images, 0.0, factor)


def contrast(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The mean of the luma for factor 0."""
    # One row a sample: sums over more axes have another order for other numbers of samples.
    rows = np.ascontiguousarray(grey(images)).reshape(len(images), -1)
    return blended(images, rows.mean(axis=1)[:, None, None, None], factor)


def saturation(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Grey for factor 0. Images of one channel stay as they are."""
    return images if images.shape[1] == 1 else blended(images, grey(images), factor)


def hue(images: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Turns the hue by `turn`, float64[n], where 1 is the full circle. Images of one channel stay as they are.

    From RGB to HSV and back: Smith 1978, "Color gamut transform pairs". Back, each channel is a trapezoid of the hue.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images[:, 0], images[:, 1], images[:, 2]
    value, low = images.max(axis=1), images.min(axis=1)
    chroma = value - low
    divisor = np.where(chroma == 0, np.float32(1), chroma)
    # In sixths of the circle, from red.
    place = np.where(
        value == red,
        (green - blue) / divisor,
        np.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    place += (6 * turn).astype(np.float32)[:, None, None]
    place -= 6 * np.floor(place / 6)
    turned = np.empty_like(images)
    for channel, share in enumerate((np.abs(place - 3) - 1, 2 - np.abs(place - 2), 2 - np.abs(place - 4))):
        np.clip(share, 0, 1, out=share)
        share *= chroma
        np.add(share, low, out=turned[:, channel])
    return turned


def colour_fault(field: Field) -> str | None:
    """The reason why colours of `field` can not be changed; None if they can."""
    if len(field.shape) == 3 and field.shape[0] in (1, 3):
        return None
    return f"expected images [1, H, W] or [3, H, W], got samples of shape {list(field.shape)}"


def _half(value: tuple[float, float]) -> tuple[float, float]:
    if not -0.5 <= value[0] <= value[1] <= 0.5:
        raise ValueError
    return value


Factors = Annotated[
    tuple[NotNegative, NotNegative],
    AfterValidator(rising),
    around(1.0, least=0.0),
    expecting("a number >= 0, for factors of 1 ± it, or [least, most] factor"),
]
Turns = Annotated[
    tuple[Finite, Finite],
    AfterValidator(_half),
    around(0.0),
    expecting("a number in [0, 0.5], or [least, most] in [-0.5, 0.5]"),
]


class ColorJitter(Transform):
    """Changes brightness, contrast, saturation and hue by random amounts, in a random order for each sample."""

    geometric: ClassVar[bool] = False
    unit: ClassVar[bool] = True
    in_parts: ClassVar[bool] = True

    brightness: Factors = (1.0, 1.0)
    contrast: Factors = (1.0, 1.0)
    saturation: Factors = (1.0, 1.0)
    hue: Turns = (0.0, 0.0)

    def fault(self, field: Field) -> str | None:
        return colour_fault(field)

    def draw(self, draws: Draws, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The order of the four adjustments, int64[n, 4], and their amounts, float64[n, 4]."""
        order = draws.uniforms(4).argsort(axis=1)
        spans = (self.brightness, self.contrast, self.saturation, self.hue)
        return order, np.stack([draws.uniform(*span) for span in spans], axis=1)

    def apply(self, images: np.ndarray, drawn: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        order, amounts = drawn
        neutral = (self.brightness == (1, 1), self.contrast == (1, 1), self.saturation == (1, 1), self.hue == (0, 0))
        for turn in range(4):
            for number, adjust in enumerate((brightness, contrast, saturation, hue)):
                rows = np.flatnonzero(order[:, turn] == number)
                if len(rows) and not neutral[number]:
                    images[rows] = adjust(images[rows], amounts[rows, number])
        return images


class Grayscale(Transform):
    """The luma of every image, in one channel or in three equal ones."""

    random: ClassVar[bool] = False
    geometric: ClassVar[bool] = False

    num_output_channels: Channels = 1

    def fault(self, field: Field) -> str | None:
        return colour_fault(field)

    def apply(self, images: np.ndarray, drawn: Any) -> np.ndarray:
        return np.repeat(grey(images), self.num_output_channels, axis=1)
