"""Which sample of a batch makes a step or a recalibration not finite."""

from __future__ import annotations

import numpy as np

from ppema.data import Batch

# The largest number whose square float32 holds.
_LARGEST = float(np.sqrt(np.finfo("float32").max))


def bad_sample(batch: Batch, label: str) -> str:
    """The first sample of a batch with a number that is not finite, or whose square float32 does not hold; "" for none.

    label: what errors call the data.
    """
    for array in batch.arrays:
        if array.dtype.kind != "f":
            continue
        # Not `abs(array) > _LARGEST`, which is False of NaN.
        bad = ~(np.abs(array) <= _LARGEST)
        if bad.any():
            index = np.argwhere(bad)[0]
            return f"sample {batch.indices[index[0]]} of {label} holds {float(array[tuple(index)]):g}"
    return ""
