"""Memory that a loader and one of its workers both see, so that batches need not go through a pipe.

It has no name in the file system: it is gone with the last process that holds it, however that ends, and does not count
against /dev/shm, which containers keep small.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence

import numpy as np

from ppema.data.fields import Field

ALIGNMENT = 64


def _field_bytes(field: Field, batch_size: int) -> int:
    size = batch_size * math.prod(field.shape) * np.dtype(field.dtype).itemsize
    return -(-size // ALIGNMENT) * ALIGNMENT


def create_shared(fields: Sequence[Field], batch_size: int, slots: int) -> int:
    """The file descriptor of new memory for `slots` batches of `fields`, to be closed by the caller. Raises OSError."""
    descriptor = os.memfd_create("ppema-batches")
    os.truncate(descriptor, slots * sum(_field_bytes(field, batch_size) for field in fields))
    return descriptor


def map_shared(descriptor: int, fields: Sequence[Field], batch_size: int, slots: int) -> tuple[tuple[np.ndarray, ...], ...]:
    """For each slot of `create_shared`'s memory the arrays [batch_size, *shape] that lie in it, one for each field.

    The arrays keep the memory mapped; `descriptor` may be closed.
    """
    memory = mmap.mmap(descriptor, 0)
    offset = 0
    mapped = []
    for _ in range(slots):
        arrays = []
        for field in fields:
            shape = (batch_size, *field.shape)
            flat = np.frombuffer(memory, field.dtype, math.prod(shape), offset)
            arrays.append(flat.reshape(shape))
            offset += _field_bytes(field, batch_size)
        mapped.append(tuple(arrays))
    return tuple(mapped)
