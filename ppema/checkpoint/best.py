"""The best value of a monitored metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppema.errors import ConfigError

# Parts of the names of metrics for which less is better.
_ERRORS = ("loss", "mse", "mae", "rmse", "error", "perplexity")


@dataclass(frozen=True)
class Best:
    """A monitored value. monitor: "<weights>/<metric>"; value: of that metric; step: the step after which it was measured."""

    monitor: str
    value: float
    step: int

    def beats(self, other: Best, mode: str | None) -> bool:
        """Whether this value is strictly better. mode: "max", "min", or None, by the metric's name."""
        smaller = wants_less(self.monitor.partition("/")[2], mode)
        return self.value < other.value if smaller else self.value > other.value


def wants_less(metric: str, mode: str | None) -> bool:
    """Whether the smallest value of `metric` is best. mode: "max", "min", or None, by its name."""
    return mode == "min" or (mode is None and less_is_better(metric))


def check_monitors(monitors: Sequence[str], measures: Mapping[str, Any]) -> None:
    """Raise ConfigError unless `measures` have all metrics in `monitors`."""
    for monitor in monitors:
        metric = monitor.partition("/")[2]
        if metric not in measures:
            raise ConfigError.of(f"{metric!r} is not measured; measured are {', '.join(measures)}", "monitor")


def less_is_better(name: str) -> bool:
    """Whether a metric's name is that of an error or a loss."""
    return any(part in name.lower() for part in _ERRORS)
