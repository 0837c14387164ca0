"""Mean and variance over many batches, from the mean and variance of each."""

from __future__ import annotations

import numpy as np


class Moments:
    """The mean and variance over all batches of one size together, in float64.

    For K batches with means m_k and variances v_k, by the law of total variance:
        mean = Σ m_k / K,   variance = Σ v_k / K + Σ (m_k - mean)² / K
    Paddle divides v_k by the number of values; the result is then the variance of all values, divided by their number.
    """

    def __init__(self) -> None:
        self.batches = 0
        self._mean = np.zeros(())
        self._spread = np.zeros(())  # Σ (m_k - mean)² so far (Welford 1962), exact also for a large mean
        self._variance = np.zeros(())

    def add(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Add one batch. mean, variance: float arrays of one shape, the same for every batch."""
        self.batches += 1
        with np.errstate(over="ignore", invalid="ignore"):  # the reader of the result checks that it is finite
            off = mean.astype(np.float64) - self._mean
            self._mean = self._mean + off / self.batches
            self._spread = self._spread + off * (mean - self._mean)
            self._variance = self._variance + (variance - self._variance) / self.batches

    @property
    def mean(self) -> np.ndarray:
        return self._mean

    @property
    def variance(self) -> np.ndarray:
        return self._variance + self._spread / max(self.batches, 1)
