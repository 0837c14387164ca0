"""The statistics of the samples of one batch, which can be sent to another rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppema.distributed import parcels
from ppema.evaluation.samples.sample_counts import SampleCounts

Statistics = Mapping[tuple[str, str], np.ndarray]  # by measure and statistic


@dataclass(frozen=True)
class BatchSamples:
    """n samples.

    indices: int64 [n], in the data set; digests: uint8 [n, 16], of the targets; kept: [n, …]; counts: of samples from 0 to n,
    by measure and statistic; uneven: the measures whose counts of the batch are not the sum of those of its samples.
    """

    indices: np.ndarray
    digests: np.ndarray
    kept: Statistics
    counts: Mapping[tuple[str, str], SampleCounts]
    uneven: frozenset[str]

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of the statistics, by measure."""
        found: dict[str, int] = {}
        for (name, _), rows in self.kept.items():
            found[name] = found.get(name, 0) + rows.nbytes
        for (name, _), each in self.counts.items():
            found[name] = found.get(name, 0) + sum(array.nbytes for array in each.arrays)
        return found


def packed(batches: Mapping[int, BatchSamples]) -> bytes:
    """Batches by number, as bytes for another process."""
    facts, arrays = [], list[np.ndarray]()
    for number, each in batches.items():
        counts = [(*key, found.shape) for key, found in each.counts.items()]
        facts.append((number, list(each.kept), counts, sorted(each.uneven)))
        arrays += [each.indices, each.digests, *each.kept.values()]
        arrays += [array for found in each.counts.values() for array in found.arrays]
    return parcels.packed(facts, arrays)


def unpacked(sent: Sequence[bytes]) -> dict[int, BatchSamples]:
    """The batches of which `packed` made each of `sent`, in the order of their numbers."""
    found: dict[int, BatchSamples] = {}
    for data in sent:
        facts, arrays = parcels.unpacked(data)
        left = iter(arrays)
        for number, kept, counts, uneven in facts:
            indices, digests = next(left), next(left)
            rows = {(name, key): next(left) for name, key in kept}
            parts = {(name, key): SampleCounts(next(left), next(left), next(left), tuple(shape)) for name, key, shape in counts}
            found[number] = BatchSamples(indices, digests, rows, parts, frozenset(uneven))
    return dict(sorted(found.items()))
