"""The update rule of an average: its schedule, start and interval."""

from __future__ import annotations

from dataclasses import dataclass

from ppema.averaging.decay import FLOATS, Constant, HalfLife, Schedule
from ppema.averaging.precision import Precision


@dataclass(frozen=True)
class Rule:
    """The update rule of an average: when it observes the weights, and with which decay.

    schedule: the decay schedule.
    start: number of steps before the average begins; until then each update sets the shadow to the weights.
    update_every: number of steps between two updates; the average observes the weights after each multiple of it.
    scale: exponent κ of the decay for a batch κ times as large as the batch of the schedule (Busbridge et al. 2023).
    bias_correction: False gives TensorFlow's semantics, s_t = s_{t-1} + (1 - d_t)·(θ_t - s_{t-1}) from θ's initial value on.
    precision: "compensated" keeps the rounding error of each update, for the next update, in a second variable like the shadow.

    Raises ValueError for a scale outside [1e-6, 1e6] and for a constant decay or half-life whose decay is 1 in float64.
    """

    schedule: Schedule
    start: int = 0
    update_every: int = 1
    scale: float = 1.0
    bias_correction: bool = True
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if not 1e-6 <= self.scale <= 1e6:
            raise ValueError(f"a batch {self.scale:.6g} times as large as that of the decay: expected a millionth to a million")
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
