"""The length of a run, and the number of its steps in a duration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ppema.averaging.decay import MOST_STEPS
from ppema.config.duration import Duration

_Size = Annotated[int, Field(ge=1, le=MOST_STEPS)]


@dataclass(frozen=True)
class Horizon:
    """The length of a run, which converts durations to steps.

    steps_per_epoch: steps in an epoch; batch_size: samples in a step. The length of the whole run is either `epochs` or
    `length` in steps; the other one is None. Raises ValueError otherwise.
    """

    steps_per_epoch: _Size
    batch_size: _Size
    epochs: _Size | None = None
    length: _Size | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.length is None):
            raise ValueError("expected epochs or length")

    @property
    def total_steps(self) -> int:
        """The number of steps of the whole run."""
        if self.epochs is not None:
            return self.epochs * self.steps_per_epoch
        assert self.length is not None
        return self.length

    def __str__(self) -> str:
        """The length of the run in words, as it was given."""
        count, unit = (self.length, "step") if self.epochs is None else (self.epochs, "epoch")
        return f"{count} {unit}" if count == 1 else f"{count} {unit}s"

    def steps(self, duration: Duration) -> int:
        """The number of steps in `duration`, rounded to the nearest integer and at least 1."""
        return duration.to_steps(steps_per_epoch=self.steps_per_epoch, batch_size=self.batch_size, total_steps=self.total_steps)

    def exact_steps(self, duration: Duration) -> float:
        """The number of steps in `duration` without rounding. For lengths, such as a half-life, not for moments of the run."""
        return duration.exact_steps(
            steps_per_epoch=self.steps_per_epoch, batch_size=self.batch_size, total_steps=self.total_steps
        )
