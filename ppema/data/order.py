"""The samples of each batch of an epoch. They are a pure function of a few numbers, so a run can resume at any batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ppema.ranks import ONE, Ranks


def epoch_order(samples: int, *, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    """int64[samples]: the order in which `epoch` reads the samples, each of them once.

    shuffle: False gives 0, 1, 2, ...; True gives a permutation by `np.random.default_rng([seed, epoch])`.
    seed, epoch: ≥ 0.
    """
    if not shuffle:
        return np.arange(samples, dtype=np.int64)
    return np.random.default_rng([seed, epoch]).permutation(samples).astype(np.int64, copy=False)


@dataclass(frozen=True)
class Plan:
    """The division of epochs into batches. `drop_last` omits a last batch that is shorter than the others.

    samples: the number of samples of the data set; indices: those of them that are read, int64[n] ascending, None for all.
    ranks: rank r of N reads the samples [n*r // N, n*(r+1) // N) of each batch of n samples.
    """

    samples: int
    batch_size: int
    shuffle: bool
    drop_last: bool
    seed: int
    indices: np.ndarray | None = field(default=None, compare=False)
    ranks: Ranks = ONE

    @property
    def size(self) -> int:
        """The number of samples of an epoch, without regard to `drop_last`."""
        return self.samples if self.indices is None else len(self.indices)

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches of an epoch."""
        whole, rest = divmod(self.size, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def order(self, epoch: int) -> np.ndarray:
        """int64[size]: the indices of the samples in the order of `epoch`, as `epoch_order` has them."""
        order = epoch_order(self.size, seed=self.seed, epoch=epoch, shuffle=self.shuffle)
        return order if self.indices is None else self.indices[order]

    def batch(self, order: np.ndarray, step: int) -> np.ndarray:
        """int64[n]: the samples that this rank reads of batch `step` ≥ 0 in the epoch whose order is `order`.

        A rank that gets none of a short batch reads its first sample. Its share is 0.
        """
        whole = order[step * self.batch_size : (step + 1) * self.batch_size]
        begin, end = self._part(len(whole))
        return whole[begin:end] if end > begin else whole[:1]

    def size_of(self, step: int) -> int:
        """The number of samples of batch `step` over all ranks."""
        return min(self.batch_size, self.size - step * self.batch_size)

    def share_of(self, step: int) -> float:
        """The number of samples of batch `step` that this rank reads, divided by that of all ranks."""
        begin, end = self._part(size := self.size_of(step))
        return (end - begin) / size

    def sliced(self, ranks: Ranks) -> Plan:
        """The same plan for a rank."""
        return replace(self, ranks=ranks)

    def _part(self, size: int) -> tuple[int, int]:
        return size * self.ranks.rank // self.ranks.size, size * (self.ranks.rank + 1) // self.ranks.size
