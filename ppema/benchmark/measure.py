"""Measuring side by side: machines are noisy, so every figure is a ratio of two times that were taken in turn."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from ppema.environment import threads_in_use
from ppema.version import VERSION

LEAST_ROUNDS = 15


@dataclass(frozen=True)
class Figure:
    """What was measured, and beside what: seconds of each round; aim: of the ratio, in words."""

    name: str
    beside: str
    aim: str
    seconds: tuple[float, ...]
    seconds_beside: tuple[float, ...]
    inverse: bool = False

    @property
    def ratios(self) -> list[float]:
        """By round: seconds over those of the other, or with `inverse`, for speeds, the other way round."""
        pairs = zip(self.seconds, self.seconds_beside, strict=True)
        return [b / a if self.inverse else a / b for a, b in pairs]

    @property
    def ratio(self) -> float:
        """Their median."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The first and the third quartile."""
        first, _, third = statistics.quantiles(self.ratios, n=4)
        return first, third


def side_by_side(
    rounds: int, ours: Callable[[], float], theirs: Callable[[], float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The seconds that each returns, over `rounds` rounds of both, in alternating order, after one that does not count."""
    found: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        if number % 2:
            first = ours()
            found.append((first, theirs()))
        else:
            second = theirs()
            found.append((ours(), second))
    a, b = zip(*found[1:], strict=True)
    return a, b


def timed(work: Callable[[], object]) -> float:
    """The seconds that `work` takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def machine() -> dict[str, object]:
    """What the figures are of: processor, cores, threads, and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads_in_use(),
        "python": platform.python_version(),
        "paddle": paddle.__version__,
        "numpy": np.__version__,
        "ppema": VERSION,
    }


def rows(figures: Sequence[Figure]) -> list[tuple[str, str, str, str, str, str]]:
    """The figures as a table's rows: what, beside what, the medians in ms, the ratio with its quartiles, the aim."""
    return [
        (
            each.name,
            each.beside,
            f"{statistics.median(each.seconds) * 1e3:.1f} ms",
            f"{statistics.median(each.seconds_beside) * 1e3:.1f} ms",
            f"{each.ratio:.2f} ({each.spread[0]:.2f} to {each.spread[1]:.2f})",
            each.aim,
        )
        for each in figures
    ]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
