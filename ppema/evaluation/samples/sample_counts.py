"""Counts of each sample, of which only the ones that are not 0 are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SampleCounts:
    """E counts of N samples. Those that are not listed are 0.

    sample: int32 [E], ascending; place: int32 [E], in the flattened counts; count: int64 [E]; shape: of the counts of a sample.
    """

    sample: np.ndarray
    place: np.ndarray
    count: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def of(cls, each: np.ndarray) -> SampleCounts:
        """Those of `each`, integers [n, …]."""
        rows = each.reshape(len(each), -1)
        sample, place = np.nonzero(rows)
        return cls(sample.astype(np.int32), place.astype(np.int32), rows[sample, place], each.shape[1:])

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sample, place and count of those that are listed."""
        return self.sample, self.place, self.count

    @property
    def size(self) -> int:
        """The number of counts of a sample."""
        return int(np.prod(self.shape, dtype=np.int64))

    def sums(self, times: np.ndarray) -> np.ndarray:
        """The counts of each resample: int64 [R, …]. times: float64 [R, N]: how often a resample has each sample."""
        sums = np.zeros((len(times), self.size), np.int64)
        if len(self.sample):
            order = np.argsort(self.place, kind="stable")
            places, starts = np.unique(self.place[order], return_index=True)
            sums[:, places] = np.add.reduceat(times[:, self.sample[order]] * self.count[order], starts, axis=1)
        return sums.reshape(len(times), *self.shape)
