"""Friedman's first regression problem (Friedman 1991, section 4.3): ten features in [0, 1], of which five matter.

y = 10 sin(π x0 x1) + 20 (x2 - 0.5)² + 10 x3 + 5 x4 + noise
"""

from __future__ import annotations

import numpy as np


class Friedman:
    """`count` samples. A sample is (features, y): float32 [10], here in units of their own, and float32."""

    UNITS = np.array([1, 10, 100, 1000, 0.1, 1, 10, 100, 1000, 0.1])

    def __init__(self, count: int, noise: float = 1.0, seed: int = 0):
        rng = np.random.default_rng(seed)
        x = rng.uniform(size=(count, 10))
        y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
        self.features = (x * self.UNITS).astype(np.float32)
        self.y = (y + noise * rng.normal(size=count)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.float32]:
        return self.features[index], self.y[index]
