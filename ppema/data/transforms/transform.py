"""The base of the built-in transforms: arguments, draws for a batch, and the change of a batch."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, Strict

from ppema.config.section import Count, Positive, Section
from ppema.config.wording import expecting
from ppema.data.fields import Field as SampleField
from ppema.data.transforms.draws import Draws


class Transform(Section):
    """A transform of whole batches. Its fields are the arguments, with names and defaults as in torchvision.

    `draw` makes the random parameters of all samples, and `apply` is a pure function of arrays and parameters. One draw may
    therefore serve several fields, such as an image and its mask.

    images: whether it acts on images, [C, H, W] or [H, W], rather than on any shape.
    random: whether `draw` draws.
    geometric: whether it moves pixels. It then also applies to fields of integers, such as masks, without interpolation.
    unit: whether float fields must be in [0, 1].
    in_parts: whether `apply` is faster on few samples at a time, whose intermediate results stay in the cache.
    """

    images: ClassVar[bool] = True
    random: ClassVar[bool] = True
    geometric: ClassVar[bool] = True
    unit: ClassVar[bool] = False
    in_parts: ClassVar[bool] = False

    def fault(self, field: SampleField) -> str | None:
        """The reason why the transform does not apply to `field`; None if it does."""
        if len(field.shape) not in (2, 3):
            return f"expected images [C, H, W] or [H, W], got samples of shape {list(field.shape)}"
        channels = field.shape[0] if len(field.shape) == 3 else 1
        for key in ("fill", "value"):
            numbers = getattr(self, key, 0.0)
            if isinstance(numbers, tuple) and field.dtype == "float32" and len(numbers) not in (1, channels):
                return f"{key} has {len(numbers)} numbers, for {channels} channels"
        return None

    def draw(self, draws: Draws, shape: tuple[int, ...]) -> Any:
        """Parameters of a batch of images of `shape` [C, H, W]. Every array among them has the batch axis first."""
        return None

    def apply(self, images: np.ndarray, drawn: Any) -> np.ndarray:
        """Change images [n, C, H, W], float32 or int64, by the parameters `drawn`. May write into `images` and return it."""
        raise NotImplementedError


def size_of(image: np.ndarray) -> tuple[int, int]:
    """(H, W) of images [n, C, H, W]."""
    return image.shape[2], image.shape[3]


def filling(fill: float | tuple[float, ...], mask_fill: int, images: np.ndarray) -> np.ndarray:
    """What geometric transforms put outside of `images`: `mask_fill` for integers, else `fill`. Broadcasts to [n, C, H, W]."""
    if images.dtype.kind == "i":
        return np.array(mask_fill, images.dtype)
    return np.asarray(fill, images.dtype).reshape(-1, 1, 1)


def around(middle: float, least: float = -math.inf) -> BeforeValidator:
    """An annotation of a pair: a number d >= 0 is short for [middle - d, middle + d], from `least` on."""

    def spelt_out(value: Any) -> Any:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
            return [max(least, middle - value), middle + value]
        return value

    return BeforeValidator(spelt_out)


def _pair(value: Any) -> Any:
    return [value, value] if type(value) is int else value


def rising(value: tuple[float, ...]) -> tuple[float, ...]:
    """`value`, pairs one after another. Raises ValueError unless the first number of each is at most the second."""
    if any(low > high for low, high in zip(value[::2], value[1::2], strict=True)):
        raise ValueError
    return value


# Strict: without it, pydantic would take true as 1.
Finite = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Probability = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False), expecting("a number in [0, 1]")]
_Share = Annotated[float, Strict(), Field(gt=0, le=1, allow_inf_nan=False)]
Interpolation = Literal["nearest", "bilinear"]
Pair = Annotated[tuple[Count, Count], BeforeValidator(_pair), expecting("an integer >= 1 or [height, width]")]
Degrees = Annotated[
    tuple[Finite, Finite],
    AfterValidator(rising),
    around(0.0),
    expecting("a number >= 0, for both directions, or [least, most]"),
]
Shares = Annotated[tuple[_Share, _Share], AfterValidator(rising), expecting("[least, most], two numbers in (0, 1]")]
Ratios = Annotated[tuple[Positive, Positive], AfterValidator(rising), expecting("[least, most], two numbers > 0")]
Fill = Annotated[
    Finite | Annotated[tuple[Finite, ...], Field(min_length=1)],
    expecting("a number, or one for each channel"),
]
MaskFill = Annotated[int, Strict(), expecting("an integer")]
