"""Whether figures of a batch depend on the other samples of it, beyond rounding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The tolerated difference, relative to the largest value. It exceeds rounding, in float32 (False) and in half types (True).
ROUNDING = {False: 1e-4, True: 2e-2}
# The tolerated share of differing samples. Rounding changes an argmax of few samples, a dependence on the batch of most.
_FLIPPED = 0.25
# The same for counts, which are exact but for such samples: in float32 (False) and in half types (True). One is always
# tolerated.
MISCOUNTED = {False: 0.02, True: 0.1}


def flips(a: np.ndarray, b: np.ndarray, rounding: float) -> bool:
    """Whether two arrays of one shape differ in more values than rounding can move. rounding: relative to the largest value."""
    return bool(np.mean(_differ(a, b, rounding * _largest(b))) > _FLIPPED)


def depends(together: np.ndarray, apart: Sequence[np.ndarray], sizes: Sequence[int], rounding: float) -> bool:
    """Whether a measure of a batch differs from the measure of its parts, which have `sizes` samples.

    rounding: the tolerated difference, relative to the largest value.
    """
    if len(sizes) < 2:
        return False
    if len(_rows(together)) == sum(sizes) and all(len(_rows(part)) == size for part, size in zip(apart, sizes, strict=True)):
        values = [_rows(part) for part in apart]
        if any(part.shape[1:] != together.shape[1:] for part in values):
            return False  # the data's own shapes differ from batch to batch
        rows = np.concatenate(values)
        differ = _differ(_rows(together), rows, rounding * _largest(rows)).reshape(len(rows), -1).any(axis=1)
        return bool(np.mean(differ) > _FLIPPED)
    if together.size == 1 and all(part.size == 1 for part in apart):
        values = np.array([part.item() for part in apart])
        mean = np.average(values, weights=sizes)
        return bool(_differ(together.ravel(), mean, rounding * _largest(values))[0])
    return True


def _rows(values: np.ndarray) -> np.ndarray:
    return values.reshape(1) if values.ndim == 0 else values


def miscounts(together: np.ndarray, apart: Sequence[np.ndarray], samples: int, share: float) -> bool:
    """Whether the counts of `samples` samples differ from the sum of the counts of their parts, by more than rounding can move.

    share: the tolerated share of the samples, or of all that is counted if that is more. One is always tolerated.
    """
    if any(part.shape != together.shape for part in apart):
        return True
    change = together - sum(apart)
    # A sample in another class is one move, though one count grows and another falls. Counts that only grow are a move each.
    moved = max(change.clip(min=0).sum(), -change.clip(max=0).sum())
    return bool(moved > max(1.0, share * max(samples, np.abs(together).sum())))


def _differ(a: np.ndarray, b: np.ndarray, bound: float) -> np.ndarray:
    return ~np.isclose(a, b, rtol=0, atol=bound, equal_nan=True)


def _largest(values: np.ndarray) -> float:
    """The largest magnitude of a finite value; 0 if there is none."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
