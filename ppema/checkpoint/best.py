"""The best value of a monitored metric."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ppema.errors import ConfigError

Mode = Literal["max", "min"]

# Parts of the names of metrics for which less is better, and of those for which more is better.
_ERRORS = ("loss", "mse", "mae", "rmse", "error", "perplexity")
_SCORES = ("accuracy", "top5", "top_k", "precision", "recall")
# Whole words of such names: parts of other words are no hint.
_SCORE_WORDS = {"f1", "iou", "miou", "dice", "auc", "r2"}


@dataclass(frozen=True)
class Best:
    """A monitored value. monitor: "<weights>/<metric>"; value: of that metric; step: the step after which it was measured."""

    monitor: str
    value: float
    step: int

    def beats(self, other: Best, mode: Mode | None) -> bool:
        """Whether this value is strictly better. mode: "max", "min", or None, by the metric's name."""
        smaller = wants_less(self.monitor.partition("/")[2], mode)
        return self.value < other.value if smaller else self.value > other.value


def wants_less(metric: str, mode: Mode | None) -> bool:
    """Whether the smallest value of `metric` is best. mode: "max", "min", or None, by its name."""
    return mode == "min" or (mode is None and less_is_better(metric))


def mode_of(metric: str, monitors: Sequence[str], mode: Mode | None) -> Mode | None:
    """The mode of one metric: `mode`, or None, by its name. mode: `train.mode`, which is that of the `monitors`.

    If the names of some of them have no direction, `mode` is that of these, since the names of the others have one. Without
    monitors, `mode` is that of any metric whose name has no direction.
    """
    monitored = [monitor.partition("/")[2] for monitor in monitors]
    if metric not in monitored:
        return None if monitored or has_direction(metric) else mode
    return None if has_direction(metric) and not all(map(has_direction, monitored)) else mode


def undirected(monitors: Sequence[str], mode: Mode | None) -> list[str]:
    """The metrics in `monitors` of which neither `mode` nor the name says whether more or less is better."""
    found = dict.fromkeys(monitor.partition("/")[2] for monitor in monitors)
    return [metric for metric in found if mode is None and not has_direction(metric)]


def which_is_best(metrics: Sequence[str]) -> ConfigError:
    """The error for `metrics` that need `train.mode`, at the key "mode"."""
    if len(metrics) == 1:
        return ConfigError.of(f"is {metrics[0]!r} best at its max or its min? Say which: max or min", "mode")
    names = ", ".join(map(repr, metrics))
    return ConfigError.of(
        f"are {names} best at their max or their min? Say which: max or min; a run can not monitor both kinds", "mode"
    )


@dataclass(frozen=True)
class FigureNames:
    """The names of the figures of an evaluation: of those that are numbers, and of arrays, such as a confusion matrix."""

    numbers: list[str]
    arrays: list[str] = field(default_factory=list)

    def fault(self, metric: str) -> str:
        """The reason why `metric` is no number that is measured, in words; "" if it is one."""
        if metric in self.numbers:
            return ""
        parts = [name for name in self.numbers if name.startswith(f"{metric}.")]
        if parts:
            return f"{metric!r} is several numbers; choose one of {', '.join(parts)}"
        if metric in self.arrays:
            return f"{metric!r} is an array, not a number; numbers are {', '.join(self.numbers)}"
        return f"{metric!r} is not measured; measured are {', '.join(self.numbers)}"


def check_monitors(monitors: Sequence[str], figures: FigureNames, *key: str) -> None:
    """Raise ConfigError at `key` (default: "monitor") unless all metrics in `monitors` are numbers of `figures`."""
    for monitor in monitors:
        if fault := figures.fault(monitor.partition("/")[2]):
            raise ConfigError.of(fault, *key or ("monitor",))


def has_direction(name: str) -> bool:
    """Whether a metric's name says if more or less of it is better."""
    return _direction(name) is not None


def less_is_better(name: str) -> bool:
    """Whether a metric's name is that of an error or a loss."""
    return _direction(name) == "min"


def _direction(name: str) -> Mode | None:
    """The direction of the name of a figure. "f1.error" is a part of the metric "f1": the metric's own name comes first."""
    for each in (name.partition(".")[0], name.partition(".")[2]):
        if any(part in each.lower() for part in _ERRORS):
            return "min"
        if any(part in each.lower() for part in _SCORES) or not _SCORE_WORDS.isdisjoint(re.split("[^a-z0-9]+", each.lower())):
            return "max"
    return None
