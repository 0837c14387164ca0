"""Figures as texts for people: four decimals, or fewer digits and an exponent where decimals would hide the value."""

from __future__ import annotations

import math
from collections.abc import Iterable

_TINY, _HUGE = 0.001, 100_000


def figure(value: float | None) -> str:
    """`value` with four decimals, or three digits if it is tiny or huge: 3e-05, never 0.0000. None: -."""
    if value is None:
        return "-"
    tiny, huge = 0 < abs(value) < _TINY, math.isfinite(value) and abs(value) >= _HUGE
    return f"{value:.3g}" if tiny or huge else f"{value:.4f}"


def difference(value: float) -> str:
    """A change, with its sign: "0" if there is none, four decimals, or two digits if it is tiny or huge."""
    if value == 0 or math.isnan(value):
        return f"{abs(value):g}"
    return f"{value:+.1e}" if _hidden(value) else f"{value:+.4f}"


def spread(value: float | None) -> str:
    """A standard deviation beside a figure: four decimals, or two digits if it is tiny or huge. None: -."""
    if value is None:
        return "-"
    return f"{value:.2g}" if _hidden(value) else f"{value:.4f}"


def with_spread(value: float | None, deviation: float | None) -> str:
    """`value ± deviation`, or `value` alone without a deviation."""
    return figure(value) if deviation is None else f"{figure(value)} ± {spread(deviation)}"


def decimals(values: Iterable[float | None], spreads: Iterable[float | None] = ()) -> int:
    """Decimals that show four digits of the largest value, and up to two more for two digits of the largest spread."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    widest = max((each for each in spreads if each is not None), default=0.0)
    enough = 3 - math.floor(math.log10(largest)) if largest else 4
    wanted = 1 - math.floor(math.log10(widest)) if widest else enough
    return max(0, min(max(enough, wanted), enough + 2))


def _hidden(value: float) -> bool:
    """Whether four decimals would show no digit of `value`, or too many before the point."""
    return 0 < abs(value) < 0.00005 or (math.isfinite(value) and abs(value) >= _HUGE)
