"""The mean and the spread of a figure over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def mean_and_spread(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """The mean of `values` and their sample standard deviation, which is None for one value; (None, None) if one is missing."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    if not numbers or len(numbers) < len(values):
        return None, None
    return statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None
