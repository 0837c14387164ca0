"""Transforms of tests, which configs and worker processes name, and pipelines of specs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppema.config.sections.transform_spec import TransformSpec
from ppema.data.fields import Field
from ppema.data.transforms.pipeline import Pipeline
from ppema.data.transforms.placed_transform import Origin
from ppema.data.transforms.table import build_pipeline


def pipeline(specs: Sequence[Any], *arrays: np.ndarray, names: Sequence[str] = ("image", "mask")) -> Pipeline:
    """The pipeline of `specs` for batches like `arrays`."""
    fields = [Field(array.shape[1:], array.dtype.name, name) for array, name in zip(arrays, names, strict=False)]
    return build_pipeline([TransformSpec.model_validate(spec) for spec in specs], fields, [array[:1] for array in arrays])


def applied(specs: Sequence[Any], *arrays: np.ndarray, seed: int = 0, epoch: int = 0, indices: Any = None):
    """The batch `arrays` after `specs`. indices: of the samples; None: 0, 1, 2, ..."""
    indices = np.arange(len(arrays[0])) if indices is None else np.asarray(indices)
    copies = [array.copy() for array in arrays]
    return pipeline(specs, *arrays).apply(copies, Origin(seed, epoch, indices))


def images(n: int = 6, channels: int = 3, height: int = 7, width: int = 9) -> np.ndarray:
    """Images float32 [n, channels, height, width] in [0, 1]."""
    return np.random.default_rng(5).random((n, channels, height, width), np.float32)


def brighter(image, by=0.5):
    """Takes the image alone."""
    return image + by


def drawing(image, rng):
    """Draws from its own and both global generators."""
    import random

    return image + rng.random() + 10 * np.random.random() + 100 * random.random()


def both(image, mask, rng):
    """Rolls image and mask alike."""
    by = int(rng.integers(1, 5))
    return np.roll(image, by, axis=2), np.roll(mask, by, axis=1)


def failing(image, above=0.5):
    """Raises for an image whose first pixel is above a threshold."""
    if image.flat[0] > above:
        raise ValueError("too\nbright")
    return image


def shrinking(image):
    """Another shape for an image whose first pixel is above a half."""
    return image[:, :1] if image.flat[0] > 0.5 else image


def silent(image):
    """Returns nothing."""
    image *= 2


class Scaled:
    """An instance is the transform."""

    def __init__(self, factor: float):
        if factor == 0:
            raise ValueError("factor 0")
        self.factor = factor

    def __call__(self, image):
        return image * self.factor


def in_counts(image):
    """A gray image [1, H, W] in 16 levels, int64."""
    return np.floor(image * 15).astype(np.int64)
