"""Where a run stands, and what is due there."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class State:
    """The position of a run: optimizer steps done, the epoch and the batch in it that come next, samples seen."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    samples: int = 0

    def advance(self, samples: int, steps_per_epoch: int) -> State:
        """The position after one more step on `samples` samples."""
        batch = self.batch + 1
        epoch = self.epoch + batch // steps_per_epoch
        return replace(self, step=self.step + 1, epoch=epoch, batch=batch % steps_per_epoch, samples=self.samples + samples)


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
