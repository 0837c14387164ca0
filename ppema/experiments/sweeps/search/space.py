"""The search space of a sweep: its points, and the overrides of a run at each of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ppema.checkpoint.best import Mode
from ppema.config import Choices, Config, Range, Sweep
from ppema.config.swept import Swept
from ppema.config.tree.yaml_text import one_line_yaml
from ppema.experiments.sweeps.sweep_folder import SearchMethod

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DEFAULT_TRIALS = 20


@dataclass(frozen=True)
class Space:
    """The points of a sweep, numbered from 0. `space_of` makes it of a config, and checks it.

    path, base: the config's file, and the overrides of every run; config: loaded from them, it has the sweep's metric as a
    `train.monitor`, unless nothing is chosen by it; section: `sweep`, with its defaults filled in: method, trials, monitor and
    mode are not None.
    """

    path: str
    base: tuple[str, ...]
    config: Config
    section: Sweep

    @property
    def over(self) -> dict[str, Swept]:
        """The ranges and values by swept key."""
        return self.section.over

    @property
    def method(self) -> SearchMethod:
        """How points are chosen."""
        assert self.section.method is not None
        return self.section.method

    @property
    def trials(self) -> int:
        """The number of points."""
        assert self.section.trials is not None
        return self.section.trials

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs of each trial."""
        return tuple(range(self.config.seed, self.config.seed + self.section.seeds))

    @property
    def monitor(self) -> str:
        """The metric that compares trials, "<weights>/<metric>"."""
        assert self.section.monitor is not None
        return self.section.monitor

    @property
    def mode(self) -> Mode:
        """Whether the largest or the smallest value is best."""
        assert self.section.mode is not None
        return self.section.mode

    def point(self, number: int) -> dict[str, Any] | None:
        """The params of trial `number`: a pure function of the config's seed and the number. None for tpe: ask Optuna."""
        if self.method == "tpe":
            return None
        if self.method == "grid":
            return grid_point(self.over, number)
        # Each trial has a generator of its own, so that trials can begin in any order.
        draws = np.random.default_rng((self.config.seed, number))
        drawn = {key: _drawn(self.over[key], draws) for key in sorted(self.over)}
        return {key: drawn[key] for key in self.over}

    def differ(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Whether two points differ in every swept key that has several values."""
        return all(one[key] != other[key] for key, each in self.over.items() if each.ends[0] != each.ends[-1])

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """All overrides of the runs at a point, but for seed and output. Numbers are exact."""
        return [*self.base, *(override(key, value) for key, value in params.items())]

    @functools.cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distributions, by swept key."""
        return {key: _distribution(each, grid=self.method == "grid") for key, each in self.over.items()}

    def to_optuna(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The `params` as Optuna stores them. It stores other values than numbers and strings as their YAML."""
        return {key: one_line_yaml(value) if self._as_text(key) else value for key, value in params.items()}

    def from_optuna(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The params of a trial of Optuna."""
        return {key: self._value(key, value) for key, value in stored.items()}

    def _as_text(self, key: str) -> bool:
        each = self.over[key]
        return isinstance(each, Choices) and not _storable(each.values)

    def _value(self, key: str, stored: Any) -> Any:
        each = self.over[key]
        if isinstance(each, Choices) and self._as_text(key):
            return next(value for value in each.values if one_line_yaml(value) == stored)
        return stored


def override(key: str, value: Any) -> str:
    """The override that gives `value` to `key`."""
    return f"{key}={one_line_yaml(value)}"


def points_of_grid(over: Mapping[str, Swept]) -> int:
    """The number of points of a grid; one without keys."""
    return math.prod(len(each.grid or ()) for each in over.values())


def grid_point(over: Mapping[str, Swept], number: int) -> dict[str, Any]:
    """The params of point `number` of a grid. The last key changes fastest."""
    params: dict[str, Any] = {}
    left = points_of_grid(over)
    for key, each in over.items():
        values = each.grid or ()
        left //= len(values)
        params[key] = values[number // left % len(values)]
    return params


def _drawn(swept: Swept, draws: np.random.Generator) -> Any:
    """A value of `swept`, uniform in the sense of its kind."""
    if isinstance(swept, Choices):
        return swept.values[int(draws.integers(len(swept.values)))]
    if swept.kind == "int":
        return int(draws.integers(int(swept.low), int(swept.high), endpoint=True))
    share = float(draws.random())
    if swept.kind == "log":
        value = math.exp(math.log(swept.low) * (1 - share) + math.log(swept.high) * share)
    else:
        value = swept.low * (1 - share) + swept.high * share
    return min(max(value, swept.low), swept.high)


def _distribution(swept: Swept, *, grid: bool) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(swept, Range) and not grid:
        if swept.kind == "int":
            return IntDistribution(int(swept.low), int(swept.high))
        return FloatDistribution(swept.low, swept.high, log=swept.kind == "log")
    values = swept.values if isinstance(swept, Choices) else swept.grid or ()
    return CategoricalDistribution(values if _storable(values) else [one_line_yaml(value) for value in values])


def _storable(values: tuple[Any, ...]) -> bool:
    """Whether Optuna stores the values as they are: numbers or strings, of one type, since it takes 1 for True."""
    return len({type(value) for value in values}) == 1 and isinstance(values[0], bool | int | float | str)
