"""The UCI optical digits: 1,797 images of 8 × 8 pixels, shipped in the package. See DIGITS.md."""

from __future__ import annotations

import gzip
from importlib import resources
from typing import Literal

import numpy as np

from ppema.data.sets.arrays import ArrayDataset

TEST_EVERY = 5
CLASSES = tuple("0123456789")


def is_test(labels: np.ndarray) -> np.ndarray:
    """bool[N]: True for every fifth sample of each class, counted in the order of `labels`, int[N]."""
    test = np.zeros(len(labels), bool)
    # np.unique would load numpy.ma, which takes more time than all of this.
    for label in set(labels.tolist()):
        test[np.flatnonzero(labels == label)[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return test


def digits(split: Literal["train", "test"]) -> ArrayDataset:
    """Images [1, 8, 8] float32 in [0, 1] (sixteenths) and labels int64 in 0..9; 1,442 for training, 355 for testing.

    The split is fixed and stratified by class (`is_test`). Both parts have digits by the same writers, so a test accuracy
    measures how well the digits of known writers are read.
    """
    file = resources.files("ppema.data.sets") / "digits.csv.gz"
    with file.open("rb") as packed, gzip.open(packed, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.int64)
    chosen = is_test(table[:, 64]) == (split == "test")
    images = table[chosen, :64].reshape(-1, 1, 8, 8) / np.float32(16)
    return ArrayDataset((images.astype(np.float32), table[chosen, 64]), f"digits ({split})", classes=CLASSES)
