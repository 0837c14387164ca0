"""Extends a run to more epochs or steps: the lengths in percent of the run change with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ppema.checkpoint.state import State
from ppema.config import Config, Duration
from ppema.config.horizon import Horizon
from ppema.errors import ConfigError


@dataclass(frozen=True)
class RelativeLength:
    """A length in percent of the run. text: its value in the config; before, now: its steps before and after."""

    key: str
    text: str
    before: float
    now: float

    def __str__(self) -> str:
        return f"{self.key}: {self.text} was {self.before:g} steps, now {self.now:g}"


@dataclass(frozen=True)
class Extension:
    """A change of the length of a run. lengths: everything that changes with it."""

    before: Horizon
    now: Horizon
    lengths: tuple[RelativeLength, ...]

    @property
    def of_lr(self) -> bool:
        """Whether the learning-rate schedule changes, from the first step on."""
        return any(length.key.startswith("lr.") for length in self.lengths)

    def lines(self, state: State) -> list[str]:
        """Lines for people. state: the position of the run."""
        before = str(self.before)
        if (self.before.epochs is None) == (self.now.epochs is None):
            before = before.partition(" ")[0]
        found = [f"extended from {before} to {self.now}"]
        for length in self.lengths:
            again = ""
            if length.key.endswith(".start") and state.updates < length.now:
                again = "; until then the average is the weights again"
            # Phases end after a number of steps, and skipped steps count.
            if length.key.endswith(".frozen_for") and state.step < self.now.steps(Duration.parse(length.text)):
                again = "; until then the variables are frozen again"
            found.append(f"extended: {length}{again}")
        return found


def extension(config: Config, was: Horizon, horizon: Horizon) -> Extension:
    """The changes if a run of the length `was` becomes the run of `config`, whose length is `horizon`."""
    sections: dict[str, Any] = {
        "lr": config.lr.model_dump(mode="json"),
        "averages": {name: average.model_dump(mode="json") for name, average in config.averages.items()},
        "groups": [group.model_dump(mode="json") for group in config.groups],
    }
    if config.lr.name == "ReduceOnPlateau":
        # Evaluations set its rate.
        sections["train.eval_every"] = str(config.train.eval_every)
    lengths = []
    for key, text in _texts(sections):
        try:
            duration = Duration.parse(text)
        except ConfigError:
            continue
        if duration.unit == "percent":
            lengths.append(RelativeLength(key, text, was.exact_steps(duration), horizon.exact_steps(duration)))
    return Extension(was, horizon, tuple(lengths))


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in `value`, at any depth, with its dotted key."""
    if isinstance(value, str):
        yield path, value
        return
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from _texts(each, f"{path}.{key}" if path else str(key))
