"""A few of the digits, with the question whether each is odd: a task with little data."""

from __future__ import annotations

import numpy as np

from ppema.data.sets.digits import digits


class OddOrEven:
    """The first `count` digits of a split. A sample is (image, odd): float32 [1, 8, 8] in [0, 1], and 0 or 1."""

    def __init__(self, split: str, count: int):
        self.digits, self.count = digits(split), count

    def __len__(self) -> int:
        return min(self.count, len(self.digits))

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image, label = self.digits[index]
        return image, int(label) % 2
