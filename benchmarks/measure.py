"""Measures sides in turn: machines are noisy, so every figure compares times from the same run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import paddle

from ppema.environment import threads_in_use
from ppema.version import VERSION

LEAST_ROUNDS = 5

# The value of a figure, of seconds a and the reference's seconds b. ratio: a/b; speed: b/a; share: a/b - 1, in percent;
# difference: a - b, in seconds; time: a, in seconds; memory: a/b, of bytes.
Kind = Literal["ratio", "speed", "share", "difference", "time", "memory"]
_VALUE: dict[Kind, Callable[[float, float], float]] = {
    "ratio": lambda a, b: a / b,
    "speed": lambda a, b: b / a,
    "share": lambda a, b: 100 * (a / b - 1),
    "difference": lambda a, b: a - b,
    "time": lambda a, b: a,
    "memory": lambda a, b: a / b,
}
_RATIOS = ("ratio", "speed", "memory")


@dataclass(frozen=True)
class Figure:
    """A measurement and its reference.

    name, beside: the measured work and the reference, in words; ours, theirs: the seconds (or bytes) of each, by round; kind:
    how the value follows from both; aim: the largest value, for a speed the smallest, that meets the aim. None: there is none.
    """

    name: str
    beside: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    kind: Kind = "ratio"
    aim: float | None = None

    @property
    def values(self) -> list[float]:
        """The value of each round."""
        return [_VALUE[self.kind](*pair) for pair in zip(self.ours, self.theirs, strict=True)]

    @property
    def value(self) -> float:
        """The median of `values`."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The first and the third quartile of `values`."""
        first, _, third = statistics.quantiles(self.values, n=4)
        return first, third

    @property
    def text(self) -> str:
        """The median with its quartiles: "1.05 (1.01 to 1.10)", "4.1 % (3.9 to 4.4)", "35.2 µs (33.0 to 40.1)"."""
        first, third = self.spread
        if self.kind in _RATIOS:
            return f"{self.value:.2f} ({first:.2f} to {third:.2f})"
        scale, unit = (1.0, "%") if self.kind == "share" else _unit(self.value)
        return f"{self.value * scale:.1f} {unit} ({first * scale:.1f} to {third * scale:.1f})"

    @property
    def holds(self) -> bool | None:
        """Whether the median meets the aim. None without an aim."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.kind == "speed" else self.value <= self.aim

    @property
    def verdict(self) -> str:
        """The aim with the answer: "at most 1.1: holds", "at most 20 µs: missed", "-" without an aim."""
        if self.aim is None:
            return "-"
        bound = "at least" if self.kind == "speed" else "at most"
        scale, unit = (1.0, "%") if self.kind == "share" else (1.0, "") if self.kind in _RATIOS else _unit(self.aim)
        return f"{bound} {f'{self.aim * scale:g} {unit}'.strip()}: {'holds' if self.holds else 'missed'}"

    def json(self) -> dict[str, object]:
        """All fields, with the value, its quartiles, and whether it meets the aim."""
        return {**asdict(self), "value": self.value, "spread": self.spread, "holds": self.holds}


@dataclass(frozen=True)
class Found:
    """The result of a command. skipped: in words, each measurement that is impossible here, with the reason."""

    figures: list[Figure]
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """The options of a command.

    rounds: the number of measurements; folder: the folder for temporary files; models: the keys of SUBJECTS for `step`;
    only_aims: leave out the sides of figures without an aim.
    """

    rounds: int
    folder: Path
    models: tuple[str, ...]
    only_aims: bool = False


def side_by_side(rounds: int, *sides: Callable[[], float]) -> list[tuple[float, ...]]:
    """Call each side once per round; returns for each side its seconds [rounds].

    The order of the sides alternates. A first round does not count.
    """
    found: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 1):
        order = list(zip(sides, found, strict=True))
        for side, seconds in order if number % 2 else reversed(order):
            seconds.append(side())
    return [tuple(seconds[1:]) for seconds in found]


def timed(work: Callable[[], object]) -> float:
    """The seconds that `work` takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def machine() -> dict[str, object]:
    """The machine of the figures: processor, cores, their load of the last minute, threads, and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "threads": threads_in_use(),
        "python": platform.python_version(),
        "paddle": paddle.__version__,
        "numpy": np.__version__,
        **{name: _version(name) for name in ("torch", "jax", "optax")},
        "ppema": VERSION,
    }


def rows(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """The figures as rows of a table: name, reference, the medians of both sides, the value with its quartiles, the aim."""
    return [
        (
            each.name,
            each.beside,
            *(
                f"{size / 1e6:.0f} MB" if each.kind == "memory" else in_words(size)
                for size in (statistics.median(each.ours), statistics.median(each.theirs))
            ),
            each.text,
            each.verdict,
        )
        for each in figures
    ]


def in_words(seconds: float) -> str:
    """The time with a readable unit, such as "12.3 ms"."""
    scale, unit = _unit(seconds)
    return f"{seconds * scale:.1f} {unit}"


def _unit(seconds: float) -> tuple[float, str]:
    """A readable unit for seconds of this size: (factor from seconds, unit)."""
    size = abs(seconds)
    return (1.0, "s") if size >= 1 else (1e3, "ms") if size >= 1e-3 else (1e6, "µs")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
