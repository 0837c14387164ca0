"""The Exchange of a recalibration whose batches several ranks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

import numpy as np

from ppema.distributed.parcels import packed, unpacked
from ppema.distributed.shared_work import SharedWork
from ppema.passes.recalibrate import BatchStatistics

LeftOut = dict[int, str]  # by the number of a batch that is left out, the reason


def exchanged(work: SharedWork, batches: Iterable[BatchStatistics], left_out: LeftOut) -> Iterable[BatchStatistics]:
    """The batches of all ranks, in order. batches: those of this rank, measured as they are read.

    left_out: of this rank; gets those of the others. Raises as `SharedWork.gather` does.
    """
    measured = list[BatchStatistics]()
    with work.trying():
        measured.extend(batches)
    parts = [unpacked(part) for part in work.gather(lambda: _packed(measured, left_out))]
    left_out |= {number: reason for (_, reasons), _ in parts for number, reason in reasons}
    # Batch 0 is that of rank 0, batch 1 that of rank 1, and so on; the last turn may not reach all ranks.
    turns = zip_longest(*(_batches(facts, arrays) for (facts, _), arrays in parts))
    return [batch for turn in turns for batch in turn if batch is not None]


def _packed(measured: Sequence[BatchStatistics], left_out: LeftOut) -> bytes:
    facts = [[each.culprit, [[*pair, values] for pair, (_, _, values) in each.seen.items()]] for each in measured]
    arrays = [array for each in measured for mean, variance, _ in each.seen.values() for array in (mean, variance)]
    return packed([facts, list(left_out.items())], arrays)


def _batches(facts: list[tuple[str, list[tuple[str, str, int]]]], arrays: Sequence[np.ndarray]) -> list[BatchStatistics]:
    left = iter(arrays)
    return [
        BatchStatistics({(mean, variance): (next(left), next(left), values) for mean, variance, values in seen}, culprit)
        for culprit, seen in facts
    ]
