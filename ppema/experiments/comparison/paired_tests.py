"""Tests of paired differences: their mean, its interval, and p-values. Pure functions of float64 numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
# The exact test goes through 2ⁿ patterns of signs.
MOST_EXACT = 16


@dataclass(frozen=True)
class PairedTest:
    """The test whether paired differences have the mean 0.

    n: pairs; difference: their mean; low, high: its interval of `LEVEL` from Student's t; p: two-sided, of the paired t-test;
    exact: two-sided p of the sign-flip test. None: undefined.
    """

    n: int
    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    exact: float | None = None


def paired_test(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """Compare the values of pairs by the differences d = second - first.

    The t-test (Student 1908) assumes that the n differences are normal: t = mean(d) / (s/√n) with n - 1 degrees of freedom,
    where s is their sample standard deviation. It needs n ≥ 2 and s > 0. The sign-flip test (Fisher 1935) assumes only that
    their distribution is symmetric under the hypothesis: its p is the share of the 2ⁿ patterns of signs with a mean at least
    as far from 0. It is never below 2/2ⁿ, and needs 2 ≤ n ≤ `MOST_EXACT`. Values that are not finite make all of it undefined.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    differences = b - a
    n = len(differences)
    mean = float(differences.mean()) if n else math.nan
    if n < 2 or not math.isfinite(mean):
        return PairedTest(n, mean)
    # Equal differences of decimal numbers differ by their rounding.
    rounding = 8 * np.finfo(np.float64).eps * float(np.abs([a, b]).max())
    exact = _sign_flips(differences, rounding) if n <= MOST_EXACT else None
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    if error <= rounding:
        return PairedTest(n, mean, exact=exact)
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) * error
    return PairedTest(n, mean, mean - half, mean + half, 2 * float(stdtr(n - 1, -abs(mean) / error)), exact)


def _sign_flips(differences: np.ndarray, rounding: float) -> float:
    n = len(differences)
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    means = signs @ differences / n
    return float(np.mean(np.abs(means) >= abs(differences.mean()) - rounding))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """The p-values, adjusted for their number by Holm's method (Holm 1979): all below α hold together at the level α.

    The i-th smallest of m, counted from 0, is multiplied by m - i; none is below a smaller one, nor above 1. None stays None,
    and does not count.
    """
    order = sorted((value, index) for index, value in enumerate(values) if value is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (value, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * value))
        adjusted[index] = largest
    return adjusted
