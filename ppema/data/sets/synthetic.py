"""Generates data of any shape: one Gaussian cluster for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ppema.data.sets.arrays import ArrayDataset

STREAMS = {"prototypes": 0, "train": 1, "test": 2}


def synthetic(
    samples: int,
    shape: Sequence[int],
    classes: int,
    noise: float = 0.5,
    seed: int = 0,
    split: Literal["train", "test"] = "train",
) -> ArrayDataset:
    """Inputs float32 `shape`, prototype[label] + noise · n with n ~ N(0, 1), and labels int64 in 0..classes - 1.

    The prototypes are drawn from N(0, 1). They depend on `seed`, `shape` and `classes` only, so both splits share one problem.
    The noise n also depends on the split. Sample i has label i mod classes, so a loader should shuffle.
    """
    prototypes = np.random.default_rng([seed, STREAMS["prototypes"]]).standard_normal((classes, *shape), np.float32)
    labels = np.arange(samples, dtype=np.int64) % classes
    drawn = np.random.default_rng([seed, STREAMS[split]]).standard_normal((samples, *shape), np.float32)
    inputs = prototypes[labels] + np.float32(noise) * drawn
    return ArrayDataset((inputs, labels), f"synthetic ({split})")
