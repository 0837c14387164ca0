"""Short reviews of a toy language, of different lengths: data for text classification without a download.

The class follows from words of praise and blame, each of which a "not" before it turns around. So it can not be read off
single words.
"""

from __future__ import annotations

import numpy as np

PRAISE, BLAME = ("good", "great", "fine", "lovely"), ("bad", "poor", "awful", "dull")
OTHERS = ("the", "a", "film", "plot", "cast", "sound", "was", "is", "and", "with", "really", "so", "music", "scene", "of", "it")
WORDS = ("<pad>", "not", *PRAISE, *BLAME, *OTHERS)


class Reviews:
    """`count` reviews. A sample is (words, label): int64 [length], numbers of `WORDS` from 1 on, and 1 for praise, else 0."""

    def __init__(self, count: int, split: str):
        self.count, self.first = count, {"train": 0, "test": 1_000_000}[split]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        rng = np.random.default_rng(self.first + index)
        while True:
            words, score = [], 0
            for _ in range(rng.integers(3, 6)):
                words += rng.choice(OTHERS, rng.integers(1, 4)).tolist()
                if rng.random() < 0.6:
                    praised, turned = rng.random() < 0.5, rng.random() < 0.4
                    words += ["not"] * turned + [rng.choice(PRAISE if praised else BLAME)]
                    score += 1 if praised != turned else -1
            if score:
                return np.array([WORDS.index(word) for word in words], np.int64), int(score > 0)
