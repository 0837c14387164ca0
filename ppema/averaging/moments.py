"""Mean and variance over many batches, from the mean and variance of each."""

from __future__ import annotations

import numpy as np


class Moments:
    """The mean and variance over all batches together, in float64.

    For batches of n_k values with means m_k and variances v_k, and N = Σ n_k, by the law of total variance:
        mean = Σ n_k m_k / N,   variance = Σ n_k (v_k + (m_k - mean)²) / N
    Paddle divides v_k by the number of values; the result is then the variance of all values, divided by their number.

    batches: their number; mean, variance: of those so far.
    """

    def __init__(self) -> None:
        self.batches = 0
        self.mean = np.zeros(())
        self.variance = np.zeros(())
        self._values = 0

    def add(self, mean: np.ndarray, variance: np.ndarray, values: int = 1) -> None:
        """Add one batch. mean, variance: float arrays of one shape, the same for every batch; values: in proportion to n_k."""
        self.batches += 1
        self._values += values
        parts = self._values / values
        # Merged as by Chan, Golub and LeVeque 1983, which is exact also for a large mean.
        with np.errstate(over="ignore", invalid="ignore"):  # the reader of the result checks that it is finite
            off = mean.astype(np.float64) - self.mean
            self.mean = self.mean + off / parts
            self.variance = self.variance + (variance + off * (mean - self.mean) - self.variance) / parts
