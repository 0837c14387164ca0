"""Which samples each batch of an epoch holds: a pure function of a few numbers, so that a run can resume anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def epoch_order(samples: int, *, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    """int64[samples]: the order in which `epoch` reads the samples; each once. Unshuffled, it is 0, 1, 2, ...

    The permutation is that of `np.random.default_rng([seed, epoch])`; seed and epoch must not be negative.
    """
    if not shuffle:
        return np.arange(samples, dtype=np.int64)
    return np.random.default_rng([seed, epoch]).permutation(samples).astype(np.int64, copy=False)


@dataclass(frozen=True)
class Plan:
    """How epochs are cut into batches. With `drop_last`, a last batch that would be short is left out."""

    samples: int
    batch_size: int
    shuffle: bool
    drop_last: bool
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches of an epoch."""
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def largest_batch(self) -> int:
        """The number of samples of the largest batch."""
        return min(self.batch_size, self.samples)

    def order(self, epoch: int) -> np.ndarray:
        """`epoch_order` of this plan."""
        return epoch_order(self.samples, seed=self.seed, epoch=epoch, shuffle=self.shuffle)

    def batch(self, order: np.ndarray, step: int) -> np.ndarray:
        """int64[n]: the samples of batch `step`, from 0, of the epoch whose order is `order`."""
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def batch_size_at(self, step: int) -> int:
        """The number of samples of batch `step`: `batch_size`, but for a short last one."""
        return min(self.batch_size, self.samples - step * self.batch_size)
