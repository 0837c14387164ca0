"""Optimizer steps of several micro-batches: which batches make a step, and how far a step has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import FiniteFloat, NonNegativeFloat, NonNegativeInt

from ppema.checkpoint.state import State


@dataclass(frozen=True)
class MicroBatches:
    """The micro-batches of a run's steps: `every` in each step. The last step of an epoch takes the rest, at most as many.

    every: `train.accumulate`; per_epoch: the number of batches in an epoch.
    """

    every: int
    per_epoch: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.per_epoch // self.every)

    def before(self, step: int) -> int:
        """The number of batches in the first `step` steps of a run."""
        epochs, steps = divmod(step, self.steps_per_epoch)
        return epochs * self.per_epoch + steps * self.every

    def of_step(self, state: State) -> int:
        """The number of batches of the step after `state`."""
        return min(self.every, self.per_epoch - state.batch)


@dataclass(frozen=True)
class Begun:
    """A step of which some micro-batches are done, and none was skipped.

    batches, samples: done; weight: Σ of what these batches count; loss, parts: Σ weight·loss, and the same for the parts of the
    loss by name.
    """

    batches: NonNegativeInt = 0
    samples: NonNegativeInt = 0
    weight: NonNegativeFloat = 0.0
    loss: FiniteFloat = 0.0
    parts: dict[str, FiniteFloat] = field(default_factory=dict)

    def __str__(self) -> str:
        """How many are done, in words: "1 micro-batch is"."""
        return f"{self.batches} micro-batch{'es are' if self.batches > 1 else ' is'}"

    def plus(self, samples: int, weight: float, loss: float, parts: Mapping[str, float]) -> Begun:
        """The step with one more micro-batch."""
        sums = {name: self.parts.get(name, 0.0) + weight * value for name, value in parts.items()}
        return Begun(self.batches + 1, self.samples + samples, self.weight + weight, self.loss + weight * loss, sums)

    @property
    def mean(self) -> float:
        """The weighted mean loss; 0 if all weights are."""
        return self.loss / self.weight if self.weight else 0.0

    @property
    def means(self) -> dict[str, float]:
        """The weighted mean of each part."""
        return {name: sum_ / self.weight if self.weight else 0.0 for name, sum_ in self.parts.items()}
