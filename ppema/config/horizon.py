"""How long a run is, and how many of its steps a duration has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ppema.averaging.decay import MOST_STEPS
from ppema.config.duration import Duration

_Size = Annotated[int, Field(ge=1, le=MOST_STEPS)]


@dataclass(frozen=True)
class Horizon:
    """How long a run is, to turn durations into steps."""

    steps_per_epoch: _Size
    batch_size: _Size
    epochs: _Size

    @property
    def total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def steps(self, duration: Duration) -> int:
        """The number of steps, at least 1."""
        return duration.to_steps(steps_per_epoch=self.steps_per_epoch, batch_size=self.batch_size, total_steps=self.total_steps)

    def exact_steps(self, duration: Duration) -> float:
        """The same without rounding, for what is no moment of the run but a length, such as a half-life."""
        return duration.exact_steps(
            steps_per_epoch=self.steps_per_epoch, batch_size=self.batch_size, total_steps=self.total_steps
        )
