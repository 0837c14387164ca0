"""Memory that a loader shares with one of its workers, so that batches need not pass through a pipe.

The memory has no name in the file system. The system frees it with the last process that holds it, however that process
ends. It does not count against /dev/shm, which is small in containers.
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
    """Create memory for `slots` batches of `fields`; returns its file descriptor. The caller closes it. Raises OSError."""
    descriptor = os.memfd_create("ppema-batches")
    os.truncate(descriptor, slots * sum(_field_bytes(field, batch_size) for field in fields))
    return descriptor


def map_shared(descriptor: int, fields: Sequence[Field], batch_size: int, slots: int) -> tuple[tuple[np.ndarray, ...], ...]:
    """The arrays in the memory of `create_shared`: for each slot one array [batch_size, *shape] per field.

    The arrays keep the memory mapped, so `descriptor` may be closed.
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
