"""Finds the sample of a batch that makes a step or a recalibration non-finite."""

from __future__ import annotations

import numpy as np

from ppema.data import Batch

# The largest number whose square fits in float32.
_LARGEST = float(np.sqrt(np.finfo("float32").max))


def bad_sample(batch: Batch, label: str) -> str:
    """Describe the first sample of `batch` with a bad number; "" if there is none.

    A bad number is non-finite, or its square overflows float32. label: the name of the data in messages, such as "data.train".
    """
    for array in batch.arrays:
        if array.dtype.kind != "f":
            continue
        # `abs(array) > _LARGEST` would be False for NaN.
        bad = ~(np.abs(array) <= _LARGEST)
        if bad.any():
            index = np.argwhere(bad)[0]
            return f"sample {batch.indices[index[0]]} of {label} holds {float(array[tuple(index)]):g}"
    return ""
