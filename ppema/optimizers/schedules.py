"""Learning-rate schedules over a run: lengths with units, the warm-up, and the resulting rates."""

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
    """schedule(s) · min(1, s / steps) at step s, counted from 0: `schedule` starts with the run, not after the warm-up."""

    def __init__(self, schedule: LRScheduler, steps: int):
        self.schedule = schedule
        self.steps = steps
        super().__init__(schedule.base_lr)

    def step(self, epoch: int | None = None) -> None:
        # The base class's constructor makes the first call; that of `schedule` has made its own.
        if self.last_epoch >= 0:
            if self.last_epoch != self.schedule.last_epoch:  # by a forged state
                raise ValueError("the warm-up and its schedule are at different steps")
            self.schedule.step(epoch)
        super().step(epoch)

    def get_lr(self) -> float:
        rate = self.schedule()
        return rate * self.last_epoch / self.steps if self.last_epoch < self.steps else rate


def is_former_warmup(state: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's state belongs to Paddle's LinearWarmup, which earlier versions used in place of `Warmup`.

    LinearWarmup starts its schedule after the warm-up. A constant rate is the same with both.
    """
    return "warmup_steps" in state


@dataclass(frozen=True)
class Rate:
    """The rate at one point of a run.

    where: "start", "after the warm-up", "peak" or "end". step: the step that uses the rate, counted from 1.
    """

    where: str
    step: int
    rate: float

    def __str__(self) -> str:
        return f"{self.where} {self.rate:.4g} (step {self.step:,})"


def rates(schedule: LRScheduler, total_steps: int) -> list[Rate]:
    """The rates at the start of a run of `total_steps`, after the warm-up, at the peak and at the end.

    schedule: a schedule before its first step; it is not changed. The result has only the start for ReduceOnPlateau, whose
    rates depend on evaluations, and for a run longer than LONGEST_WALK steps.
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
    """The arguments of an earlier version's config with a unit for each length: 500 becomes "500 steps"."""

    def text(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [text(each) for each in value]
        return f"{value} steps" if type(value) is int else value

    return {key: text(value) if key in LENGTHS else value for key, value in args.items()}


def in_steps(target: Any, args: Mapping[str, Any], to_steps: Callable[[Duration], int]) -> dict[str, Any]:
    """The arguments `args` of the schedule `target` with every duration, at any depth, as a number of steps.

    A string that begins with a digit must be a duration. Raises ConfigError for a length without a unit, which users may mean
    in epochs, and for a duration where ReduceOnPlateau counts evaluations.
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
