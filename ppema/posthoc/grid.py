"""Chooses the lengths of a search on a logarithmic scale, where doubling a length is always the same step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

_GOLDEN = (math.sqrt(5) - 1) / 2


def grid(low: float, high: float, points: int) -> list[float]:
    """`points` ≥ 2 lengths from `low` to `high` with a constant ratio."""
    return [float(each) for each in np.geomspace(low, high, points)]


def golden_section(cost: Callable[[float], Any], low: float, high: float, points: int) -> None:
    """Call `cost`, whose values can be ordered, for `points` ≥ 2 lengths between `low` and `high` that approach its minimum.

    Golden-section search (Kiefer 1953) on log(length): each call after the second reduces the interval to 0.618 of it. It finds
    the minimum of a unimodal cost. For a cost with several minima, or a noisy one, it may end elsewhere.
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
