"""The position of a run, the events that are due there, and the seed of its next step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import FiniteFloat, NonNegativeInt


@dataclass(frozen=True)
class State:
    """The position of a run.

    step: optimizer steps done; epoch, batch: the next epoch, and the next batch in it, both counted from 0; samples: samples
    seen; skipped: steps skipped. A skipped step counts as a step and takes its batches, but changes no state, because a loss,
    gradient or BatchNorm statistic was not finite.
    """

    step: NonNegativeInt
    epoch: NonNegativeInt
    batch: NonNegativeInt
    samples: NonNegativeInt
    skipped: NonNegativeInt

    @property
    def updates(self) -> int:
        """The number of steps that changed the weights. Averages count these."""
        return self.step - self.skipped

    def advance(self, samples: int, batches_per_epoch: int, *, batches: int = 1, skipped: bool = False) -> State:
        """The position after one more step on `samples` samples in `batches` batches. skipped: whether it was skipped."""
        batch = self.batch + batches
        return State(
            step=self.step + 1,
            epoch=self.epoch + batch // batches_per_epoch,
            batch=batch % batches_per_epoch,
            samples=self.samples + samples,
            skipped=self.skipped + skipped,
        )


BEGINNING = State(step=0, epoch=0, batch=0, samples=0, skipped=0)


@dataclass(frozen=True)
class Losses:
    """The losses of several steps that were not skipped.

    steps: their number; loss: the sum; parts: the sums of the loss's parts by name. None: one was not finite.
    """

    steps: NonNegativeInt = 0
    loss: FiniteFloat = 0.0
    parts: dict[str, FiniteFloat | None] = field(default_factory=dict)

    def plus(self, loss: float, parts: Mapping[str, float] | None = None) -> Losses:
        """The losses with that of one more step. A part that an earlier step lacks is left out."""
        sums, found = self.parts if self.steps else dict.fromkeys(parts or {}, 0.0), {}
        for name, value in (parts or {}).items():
            if name in sums:
                before = sums[name]
                found[name] = before + value if before is not None and math.isfinite(before + value) else None
        return Losses(self.steps + 1, self.loss + loss, found)

    @property
    def mean(self) -> float:
        """The mean loss; NaN without a step."""
        return self.loss / self.steps if self.steps else math.nan

    @property
    def means(self) -> dict[str, float]:
        """The mean of each part; NaN after a non-finite figure."""
        return {name: math.nan if sum_ is None else sum_ / self.steps for name, sum_ in self.parts.items()}


@dataclass(frozen=True)
class Every:
    """An event that is due every `steps` steps, and also after the last step, `last`."""

    steps: int
    last: int

    def regular(self, state: State) -> bool:
        """Whether an interval ends with the step that led to `state`. The run's last step does not count."""
        return state.step % self.steps == 0

    def due(self, state: State) -> bool:
        """Whether the event is due after the step that led to `state`."""
        return self.regular(state) or state.step == self.last

    def due_next(self, state: State) -> bool:
        """Whether the event is due after the step that follows `state`."""
        return (state.step + 1) % self.steps == 0 or state.step + 1 == self.last


def step_seed(seed: int, step: int, micro_batch: int = 0, rank: int = 0) -> int:
    """The random seed of one run of the train program, in [0, 2^63): a pure function of the run's seed, step and micro-batch.

    micro_batch: its number in the step; rank: of this process, so that ranks drop different units. Every run seeds the
    generator of dropout. Evaluations between steps therefore do not change the run, and a resumed run draws the same numbers
    without saved generator state. Mixing: splitmix64 (Steele et al. 2014).
    """
    mask = (1 << 64) - 1
    z = seed * 0x9E3779B97F4A7C15 + (step + 1) * 0xD1B54A32D192ED03 + micro_batch * 0x8CB92BA72F3D8DD7
    z = (z + rank * 0xA24BAED4963EE407) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 1
