"""Where a run stands, and what is due there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import FiniteFloat, NonNegativeInt


@dataclass(frozen=True)
class State:
    """The position of a run: steps done, the epoch and the batch in it that come next, samples seen, and steps skipped.

    A skipped step is a step like others, with a batch of its own, but it changed nothing: its gradients were not finite.
    """

    step: NonNegativeInt
    epoch: NonNegativeInt
    batch: NonNegativeInt
    samples: NonNegativeInt
    skipped: NonNegativeInt

    @property
    def updates(self) -> int:
        """The steps that changed the weights: what averages count."""
        return self.step - self.skipped

    def advance(self, samples: int, steps_per_epoch: int, *, skipped: bool = False) -> State:
        """The position after one more step on `samples` samples, which may have been skipped."""
        batch = self.batch + 1
        return State(
            step=self.step + 1,
            epoch=self.epoch + batch // steps_per_epoch,
            batch=batch % steps_per_epoch,
            samples=self.samples + samples,
            skipped=self.skipped + skipped,
        )


BEGINNING = State(step=0, epoch=0, batch=0, samples=0, skipped=0)


@dataclass(frozen=True)
class Losses:
    """The losses of some steps that were not skipped: the number of steps, and the sum."""

    steps: NonNegativeInt = 0
    loss: FiniteFloat = 0.0

    def plus(self, loss: float) -> Losses:
        """These and that of one more step."""
        return Losses(self.steps + 1, self.loss + loss)

    @property
    def mean(self) -> float:
        """NaN of no step."""
        return self.loss / self.steps if self.steps else math.nan


@dataclass(frozen=True)
class Every:
    """Due every `steps` steps, and at the last one, `last`, whatever its number."""

    steps: int
    last: int

    def regular(self, state: State) -> bool:
        """Whether its interval ends with the step that led to `state`, wherever the run does."""
        return state.step % self.steps == 0

    def due(self, state: State) -> bool:
        """Whether it is due after the step that led to `state`."""
        return self.regular(state) or state.step == self.last


def step_seed(seed: int, step: int) -> int:
    """The random seed of one step: a pure function of the run's seed and the step, in [0, 2^63).

    Dropout draws from a generator seeded anew at each step, so that evaluations in between do not disturb it and a resumed
    run draws what an undisturbed one would, with no generator state to save. Mixing: splitmix64 (Steele et al. 2014).
    """
    mask = (1 << 64) - 1
    z = (seed * 0x9E3779B97F4A7C15 + (step + 1) * 0xD1B54A32D192ED03) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 1
