"""Merges the statistics of batches into those of a set, in numpy: in one process, or from several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ppema.distributed import parcels


@dataclass(frozen=True)
class Gathered:
    """The statistics of some batches of a set.

    sums: integer arrays, each the sum over the batches; kept: for each statistic the rows of each batch, by the batch's number.
    The parts of several processes give the same bytes as one process, whichever batches each of them has.
    """

    sums: dict[str, np.ndarray] = field(default_factory=dict)
    kept: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)

    def add(self, name: str, counts: np.ndarray) -> None:
        """Add the counts of a batch to the sum `name`. Raises ValueError for counts of another shape than before."""
        counts = np.asarray(counts, dtype=np.int64)
        before = self.sums.get(name)
        if before is not None and before.shape != counts.shape:
            raise ValueError(f"counts of the shape {list(counts.shape)} follow counts of the shape {list(before.shape)}")
        self.sums[name] = counts.copy() if before is None else before + counts

    def keep(self, name: str, batch: int, rows: np.ndarray) -> None:
        """Keep a copy of the rows of the batch with the number `batch`. Raises ValueError if that batch is there already."""
        found = self.kept.setdefault(name, {})
        if batch in found:
            raise ValueError(f"batch {batch} is there twice")
        found[batch] = np.array(rows)

    def include(self, other: Gathered) -> None:
        """Merge the statistics of other batches into these. Raises ValueError as `add` and `keep` do."""
        for name, counts in other.sums.items():
            self.add(name, counts)
        for name, batches in other.kept.items():
            for batch, rows in batches.items():
                self.keep(name, batch, rows)

    def whole(self) -> dict[str, np.ndarray]:
        """The statistics of all batches: sums, and rows in the order of the batches' numbers.

        Raises ValueError for rows of several shapes.
        """
        return self.sums | {name: np.concatenate([rows[each] for each in sorted(rows)]) for name, rows in self.kept.items()}


def packed(found: Mapping[str, Gathered]) -> bytes:
    """The statistics of several measures by name, as bytes for another process."""
    facts, arrays = list[tuple[str, str, int | None]](), list[np.ndarray]()
    for measure, gathered in found.items():
        for name, counts in gathered.sums.items():
            facts.append((measure, name, None))
            arrays.append(counts)
        for name, batches in gathered.kept.items():
            facts += [(measure, name, batch) for batch in batches]
            arrays += batches.values()
    return parcels.packed(facts, arrays)


def unpacked(data: bytes) -> dict[str, Gathered]:
    """The statistics of which `packed` made `data`, by measure. A measure without a batch is absent."""
    facts, arrays = parcels.unpacked(data)
    found: dict[str, Gathered] = {}
    for (measure, name, batch), array in zip(facts, arrays, strict=True):
        into = found.setdefault(measure, Gathered())
        if batch is None:
            into.add(name, array)
        else:
            into.keep(name, batch, array)
    return found
