"""RandAugment: a few random operations of one strength."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, Strict, model_validator

from ppema.config.section import Count
from ppema.config.wording import counting, faults
from ppema.data.fields import Field as SampleField
from ppema.data.transforms import colors, tones
from ppema.data.transforms.colors import colour_fault
from ppema.data.transforms.draws import Draws
from ppema.data.transforms.transform import Fill, Interpolation, MaskFill, Transform, filling
from ppema.data.transforms.warps import inverse_matrix, warped

_Geometry = Callable[[np.ndarray, tuple[int, int]], np.ndarray]


def _sheared(across: np.ndarray, down: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shear by the tangents `across` and `down` about the upper left corner."""
    still = np.zeros_like(across)
    shear = np.degrees(np.arctan(across)), np.degrees(np.arctan(down))
    corner = np.array([-size[1] / 2, -size[0] / 2])
    return inverse_matrix(still, (still, still), still + 1, shear, corner)


def _moved(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Shift by whole pixels, rounded towards 0."""
    still = np.zeros_like(across)
    return inverse_matrix(still, (np.trunc(across), np.trunc(down)), still + 1, (still, still), np.zeros(2))


def _rotated(degrees: np.ndarray) -> np.ndarray:
    still = np.zeros_like(degrees)
    return inverse_matrix(-degrees, (still, still), still + 1, (still, still), np.zeros(2))


# Cubuk et al. 2020, "RandAugment", section 3, with the ranges of torchvision. Each operation takes its strength in [0, 1], or,
# if it has two directions, in [-1, 1] with a random sign: float64[n].
GEOMETRY: Mapping[str, _Geometry] = {
    "ShearX": lambda m, size: _sheared(0.3 * m, 0 * m, size),
    "ShearY": lambda m, size: _sheared(0 * m, 0.3 * m, size),
    "TranslateX": lambda m, size: _moved(150 / 331 * size[1] * m, 0 * m),
    "TranslateY": lambda m, size: _moved(0 * m, 150 / 331 * size[0] * m),
    "Rotate": lambda m, size: _rotated(30 * m),
}
SIGNED: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "Brightness": lambda images, m: colors.brightness(images, 1 + 0.9 * m),
    "Color": lambda images, m: colors.saturation(images, 1 + 0.9 * m),
    "Contrast": lambda images, m: colors.contrast(images, 1 + 0.9 * m),
    "Sharpness": lambda images, m: tones.sharpness(images, 1 + 0.9 * m),
}
PLAIN: Mapping[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "Posterize": lambda images, m: tones.posterize(images, 8 - round(4 * m)),
    "Solarize": lambda images, m: tones.solarize(images, 1 - m),
    "AutoContrast": lambda images, m: tones.autocontrast(images),
    "Equalize": lambda images, m: tones.equalize(images),
}
OPERATIONS = ("Identity", *GEOMETRY, *SIGNED, *PLAIN)


class RandAugment(Transform):
    """`num_ops` random operations on each sample, of strength magnitude / (num_magnitude_bins - 1): Cubuk et al. 2020.

    Operations on colours do not apply to fields of integers; the others apply to all fields alike.
    """

    unit: ClassVar[bool] = True
    in_parts: ClassVar[bool] = True

    num_ops: Count = 2
    magnitude: Annotated[int, Strict(), Field(ge=0, le=1000), counting("an integer", 0, 1000)] = 9
    num_magnitude_bins: Annotated[int, Strict(), Field(ge=2, le=1001), counting("an integer", 2, 1001)] = 31
    interpolation: Interpolation = "nearest"
    fill: Fill = 0.0
    mask_fill: MaskFill = 0

    @model_validator(mode="after")
    def _within_bins(self) -> RandAugment:
        if self.magnitude >= self.num_magnitude_bins:
            most = self.num_magnitude_bins - 1
            raise faults([(("magnitude",), f"expected an integer up to {most}, num_magnitude_bins - 1, got {self.magnitude}")])
        return self

    def fault(self, field: SampleField) -> str | None:
        return super().fault(field) or (colour_fault(field) if field.dtype == "float32" else None)

    def draw(self, draws: Draws, shape: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each operation in turn its number in OPERATIONS, int64[n], and its sign, float64[n]."""
        return [(draws.integers(len(OPERATIONS)), np.where(draws.chance(0.5), -1.0, 1.0)) for _ in range(self.num_ops)]

    def apply(self, images: np.ndarray, drawn: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        for numbers, signs in drawn:
            for number, name in enumerate(OPERATIONS):
                rows = np.flatnonzero(numbers == number)
                if len(rows) and name != "Identity":
                    images[rows] = self._changed(name, images[rows], signs[rows])
        return images

    def _changed(self, name: str, images: np.ndarray, signs: np.ndarray) -> np.ndarray:
        strength = self.magnitude / (self.num_magnitude_bins - 1)
        if name in GEOMETRY:
            matrices = GEOMETRY[name](strength * signs, images.shape[2:])
            return warped(images, matrices, self.interpolation, filling(self.fill, self.mask_fill, images))
        if images.dtype.kind == "i":
            return images
        return SIGNED[name](images, strength * signs) if name in SIGNED else PLAIN[name](images, strength)
