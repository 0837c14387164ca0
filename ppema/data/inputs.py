"""The protocol of what prediction reads: batches of a model's inputs, each sample with a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ppema.ranks import ONE, Ranks


@dataclass(frozen=True)
class InputBatch:
    """n ≥ 0 samples, as the model receives them.

    names: of each sample, for people: the path of a file, or "file.npz[3]".
    arrays: one [n, *shape] for each input of the model, in the order of its fields.
    failed: name and reason, one line, of the samples that were left out before this batch. A batch of 0 samples may carry them.
    more: whether the next batch belongs to the same turn.
    """

    names: tuple[str, ...]
    arrays: tuple[np.ndarray, ...]
    failed: tuple[tuple[str, str], ...] = ()
    more: bool = False

    def without(self, faults: Mapping[int, str]) -> InputBatch:
        """The batch without the rows in `faults`, which are added to `failed` in their order. faults: the reason by row."""
        kept = [row for row in range(len(self.names)) if row not in faults]
        failed = tuple((self.names[row], fault) for row, fault in sorted(faults.items()))
        return InputBatch(
            tuple(self.names[row] for row in kept),
            tuple(array[kept] for array in self.arrays),
            (*self.failed, *failed),
            self.more,
        )


class BatchTurns:
    """The turns of several ranks, which make the batches of one source, or of several, one after another.

    A source takes a turn for each of its batches, on every rank, and makes the batch if it is the rank's own.
    """

    def __init__(self, ranks: Ranks = ONE):
        self.ranks = ranks
        self._taken = 0

    def mine(self) -> bool:
        """Take the next turn. Returns whether it is that of this rank."""
        self._taken += 1
        return (self._taken - 1) % self.ranks.size == self.ranks.rank

    def take(self, count: int) -> Ranks:
        """Take the next `count` turns. Returns the ranks that they would have if the first were that of rank 0."""
        first, self._taken = self._taken, self._taken + count
        return replace(self.ranks, rank=(self.ranks.rank - first) % self.ranks.size)


class InputSource(Protocol):
    """Samples for prediction, in a fixed order. Only a few batches are in memory at a time."""

    @property
    def total(self) -> int | None:
        """The number of samples, also of those that will be left out; None if it is not known yet."""
        ...

    def batches(self, batch_size: int, turns: BatchTurns) -> Iterator[InputBatch]:
        """The samples in batches of at most `batch_size`: those whose turn is that of this rank.

        Raises DataError for an unusable sample, unless it is left out.
        """
        ...
