"""Which lengths to try: on a logarithmic scale, as twice as long is the same step wherever one stands."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

_GOLDEN = (math.sqrt(5) - 1) / 2


def grid(low: float, high: float, points: int) -> list[float]:
    """`points` ≥ 2 lengths from `low` to `high`, each the same factor above the one before."""
    return [float(each) for each in np.geomspace(low, high, points)]


def golden_section(cost: Callable[[float], Any], low: float, high: float, points: int) -> None:
    """Call `cost`, whose values can be ordered, for `points` ≥ 2 lengths between `low` and `high` that close in on its least.

    Golden-section search (Kiefer 1953) on log(length): each call after the second leaves 0.618 of the interval. It finds the
    minimum of a cost that has one; where it has several, or is noisy, it may end elsewhere.
    """
    a, b = math.log(low), math.log(high)
    left, right = b - _GOLDEN * (b - a), a + _GOLDEN * (b - a)
    at_left, at_right = cost(math.exp(left)), cost(math.exp(right))
    for _ in range(points - 2):
        if at_left <= at_right:
            b, right, at_right = right, left, at_left
            left = b - _GOLDEN * (b - a)
            at_left = cost(math.exp(left))
        else:
            a, left, at_left = left, right, at_right
            right = a + _GOLDEN * (b - a)
            at_right = cost(math.exp(right))
