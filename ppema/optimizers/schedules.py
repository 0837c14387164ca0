"""Learning-rate schedules over a run: lengths with units, the warm-up, and the rates that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import paddle

from ppema.config import Duration
from ppema.errors import ConfigError, Problem

LRScheduler = paddle.optimizer.lr.LRScheduler
ReduceOnPlateau = paddle.optimizer.lr.ReduceOnPlateau

# Arguments of Paddle's schedules that count calls of `step()`, which are optimizer steps.
LENGTHS = (
    *("T_max", "T_0", "boundaries", "decay_steps", "milestones", "step_size", "step_size_down", "step_size_up"),
    *("total_steps", "warmup_steps"),
)
# Arguments of ReduceOnPlateau that count evaluations.
_EVALUATIONS = ("patience", "cooldown")
LONGEST_WALK = 1_000_000


class Warmup(LRScheduler):
    """schedule(s) · min(1, s / steps) at step s, counted from 0: `schedule` runs from the beginning of the run to its end."""

    def __init__(self, schedule: LRScheduler, steps: int):
        self.schedule = schedule
        self.steps = steps
        super().__init__(schedule.base_lr)

    def step(self, epoch: int | None = None) -> None:
        # The first call is the base class's own, which `schedule` has had.
        if self.last_epoch >= 0:
            if self.last_epoch != self.schedule.last_epoch:  # by a forged state
                raise ValueError("the warm-up and its schedule are at different steps")
            self.schedule.step(epoch)
        super().step(epoch)

    def get_lr(self) -> float:
        rate = self.schedule()
        return rate * self.last_epoch / self.steps if self.last_epoch < self.steps else rate


def is_former_warmup(state: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's state of a `Warmup` is that of Paddle's LinearWarmup, which earlier versions used in its place.

    There the schedule began at the end of the warm-up. A constant rate is the same with both.
    """
    return "warmup_steps" in state


@dataclass(frozen=True)
class Rate:
    """where: "start", "after the warm-up", "peak" or "end"; step: that uses the rate, counted from 1."""

    where: str
    step: int
    rate: float

    def __str__(self) -> str:
        return f"{self.where} {self.rate:.4g} (step {self.step:,})"


def rates(schedule: LRScheduler, total_steps: int) -> list[Rate]:
    """The rate at the start of a run of `total_steps`, after the warm-up, at its peak and at the end.

    schedule: not stepped yet, and not changed. No peak and end where evaluations decide (ReduceOnPlateau), or where the run is
    longer than LONGEST_WALK steps.
    """
    copy = deepcopy(schedule)
    found = [Rate("start", 1, float(copy()))]
    if isinstance(copy, ReduceOnPlateau) or total_steps > LONGEST_WALK:
        return found
    after, peak = None, found[0]
    for step in range(2, total_steps + 1):
        copy.step()
        rate = float(copy())
        if isinstance(copy, Warmup) and step == copy.steps + 1:
            after = Rate("after the warm-up", step, rate)
        if rate > peak.rate:
            peak = Rate("peak", step, rate)
    return [*found, *([after] if after else []), Rate("peak", peak.step, peak.rate), Rate("end", total_steps, float(copy()))]


def with_units(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an earlier version's config with a unit at each length: what counted steps is "500 steps"."""

    def text(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [text(each) for each in value]
        return f"{value} steps" if type(value) is int else value

    return {key: text(value) if key in LENGTHS else value for key, value in args.items()}


def in_steps(target: Any, args: Mapping[str, Any], to_steps: Callable[[Duration], int]) -> dict[str, Any]:
    """The arguments `args` of the schedule `target` with every duration, at any depth, as a number of steps.

    A string that begins with a digit must be a duration. Raises ConfigError for a length without a unit, whose steps would be
    taken for epochs, and for a duration where ReduceOnPlateau counts evaluations.
    """
    problems: list[Problem] = []
    epoch = to_steps(Duration(1, "epochs"))

    def convert(value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, Mapping):
            return {key: convert(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [convert(each, (*path, index)) for index, each in enumerate(value)]
        if path[1] in LENGTHS and isinstance(value, (int, float)) and not isinstance(value, bool):
            count = f"it counts steps, and {value} steps are {value / epoch:.3g} epochs"
            problems.append(Problem(path, f"{count}: write '{value} steps' or '{value} epochs'"))
        if not isinstance(value, str) or not value[:1].isdigit():
            return value
        if target is ReduceOnPlateau and path[1] in _EVALUATIONS:
            problems.append(Problem(path, "it counts evaluations (train.eval_every): write a number without a unit"))
            return value
        try:
            return to_steps(Duration.parse(value))
        except ConfigError as error:
            problems.extend(Problem((*path, *problem.path), problem.message) for problem in error.problems)
            return value

    found = {key: convert(value, ("args", key)) for key, value in args.items()}
    if problems:
        raise ConfigError(problems)
    return found
