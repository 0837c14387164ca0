"""Exact statements about the share of samples that a model gets right. They need no resamples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Discordant:
    """Samples that exactly one of two models gets right, with McNemar's test that neither model is better.

    gained: only the first model; lost: only the second one. p: exact and two-sided.
    """

    gained: int
    lost: int
    p: float


def discordant(first: np.ndarray, second: np.ndarray) -> Discordant:
    """Compare two models on the same samples. first, second: 1 for a sample that is right, 0 for a wrong one, [N].

    Under the hypothesis, a discordant sample is of either kind with probability 1/2 (McNemar 1947). So p is twice the lower
    tail of a binomial distribution, at most 1.
    """
    from scipy.special import bdtr

    gained, lost = int((first > second).sum()), int((first < second).sum())
    return Discordant(gained, lost, min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5))))


def bounds(samples: int, right: bool, level: float) -> tuple[float, float]:
    """The interval of a share if all samples are right, or all wrong (Clopper & Pearson 1934). Its inner end is exact.

    It also holds for the mean of any values in [0, 1], if all of them are 1, or all 0.
    """
    far = ((1 - level) / 2) ** (1 / samples)
    return (far, 1.0) if right else (0.0, 1 - far)
