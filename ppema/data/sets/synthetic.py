"""Made-up data of any shape: one Gaussian cluster for each class."""

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

    The prototypes, drawn from N(0, 1), depend on `seed`, `shape` and `classes` only, so that both splits are of one
    problem; n depends on the split as well. Sample i has label i mod classes: a loader has to shuffle.
    """
    prototypes = np.random.default_rng([seed, STREAMS["prototypes"]]).standard_normal((classes, *shape), np.float32)
    labels = np.arange(samples, dtype=np.int64) % classes
    drawn = np.random.default_rng([seed, STREAMS[split]]).standard_normal((samples, *shape), np.float32)
    inputs = prototypes[labels] + np.float32(noise) * drawn
    return ArrayDataset((inputs, labels), f"synthetic ({split})")
