"""The update rule of an average: its schedule, start and interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ppema.averaging.decay import FLOATS, MOST_STEPS, Constant, HalfLife, PowerFunction, Schedule
from ppema.averaging.precision import PRECISIONS, Precision
from ppema.values import number, shown


@dataclass(frozen=True)
class Rule:
    """The update rule of an average: when it observes the weights, and with which decay.

    schedule: the decay schedule.
    start: number of steps before the average begins; until then each update sets the shadow to the weights.
    update_every: number of steps between two updates; the average observes the weights after each multiple of it.
    scale: exponent κ of the decay for a batch κ times as large as the batch of the schedule (Busbridge et al. 2023).
    bias_correction: False gives TensorFlow's semantics, s_t = s_{t-1} + (1 - d_t)·(θ_t - s_{t-1}) from θ's initial value on.
    precision: "compensated" keeps the rounding error of each update, for the next update, in a second variable like the shadow.

    Raises ValueError for a number out of range and for a constant decay or half-life whose decay is 1 in float64; TypeError for
    a schedule or bias_correction of another kind.
    """

    schedule: Schedule
    start: int = 0
    update_every: int = 1
    scale: float = 1.0
    bias_correction: bool = True
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if not callable(self.schedule):
            known = "one of those in ppema.averaging.decay, such as HalfLife(1000)"
            raise TypeError(f"schedule: expected {known}, got {self.schedule!r}")
        check_count("start", self.start, 0)
        check_count("update_every", self.update_every, 1)
        if not (isinstance(self.scale, (int, float)) and 1e-6 <= self.scale <= 1e6):
            raise ValueError(f"scale: expected a number in [1e-6, 1e6], got {shown(self.scale)}")
        if self.scale != 1 and isinstance(self.schedule, PowerFunction):
            raise ValueError("scale: a power function's length is relative to the run, whatever the batch; leave it out")
        if not isinstance(self.bias_correction, bool):
            raise TypeError(f"bias_correction: expected True or False, got {self.bias_correction!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: expected 'float32' or 'compensated', got {self.precision!r}")
        if isinstance(self.schedule, (Constant, HalfLife)):
            self.decay_at(self.first)  # raises ValueError for a decay of 1 in float64, before anything is built

    @property
    def interval(self) -> float:
        """The number of steps that one update covers, in steps of the batch of the schedule: update_every·scale."""
        return self.update_every * self.scale

    @property
    def begin(self) -> int:
        """The number of steps before the average begins: `start`, rounded down to a multiple of update_every."""
        return self.start // self.update_every * self.update_every

    @property
    def first(self) -> int:
        """The step of the first observation, counted from 1."""
        return self.begin + self.update_every

    def decay_at(self, step: int) -> float:
        """The decay of the last update at or before optimizer step `step`, counted from 1; 0 before the first update."""
        n = step // self.update_every * self.update_every - self.first
        return self.schedule(float(n), self.interval, FLOATS) if n >= 0 else 0.0


def check_count(name: str, given: Any, least: int) -> int:
    """`given` itself. Raises ValueError unless it is an integer from `least` to 1e15."""
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= MOST_STEPS:
        raise ValueError(f"{name}: expected an integer from {least} to {number(MOST_STEPS)}, got {shown(given)}")
    return given
