"""When an average takes in the weights, and how much of them."""

from __future__ import annotations

from dataclasses import dataclass

from ppema.averaging.decay import FLOATS, Constant, HalfLife, Schedule
from ppema.averaging.precision import Precision


@dataclass(frozen=True)
class Rule:
    """When an average takes in the weights, and how much of them.

    schedule: its decay. start: steps that the average leaves out; until then the shadow follows the
    weights. update_every: steps from one update to the next; the average takes in the weights after each multiple of it. scale:
    the exponent κ of the decay under a batch κ times as large as the one it was chosen for (Busbridge et al. 2023).
    bias_correction: False for TensorFlow's semantics: s_t = s_{t-1} + (1 - d_t)·(θ_t - s_{t-1}), from θ's initial value on.
    precision: "compensated" keeps what each update's rounding loses in a second variable of the shadow's form, for the next.

    Raises ValueError for a scale out of range and for a decay that float64 can not tell from 1.
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
            self.decay_at(self.first)  # raises ValueError for one that float64 can not tell from 1, before anything is built

    @property
    def interval(self) -> float:
        """The steps that one update stands for, in steps of the batch that the decay was chosen for."""
        return self.update_every * self.scale

    @property
    def begin(self) -> int:
        """The steps that the average leaves out: `start`, rounded down to a multiple of update_every."""
        return self.start // self.update_every * self.update_every

    @property
    def first(self) -> int:
        """The step, from 1, after which the first observation enters the average."""
        return self.begin + self.update_every

    def decay_at(self, step: int) -> float:
        """The decay of the last update at or before optimizer step `step`, counted from 1; 0 before the first."""
        n = step // self.update_every * self.update_every - self.first
        return self.schedule(float(n), self.interval, FLOATS) if n >= 0 else 0.0
