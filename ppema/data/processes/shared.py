"""Memory that a loader shares with one of its workers, so that batches need not pass through a pipe.

The memory has no name in the file system. The system frees it with the last process that holds it, however that process
ends. It does not count against /dev/shm, which is small in containers.
"""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ppema.errors import DataError, one_line

ALIGNMENT = 64


class ArrayForm(NamedTuple):
    """Shape and dtype of an array."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def aligned_bytes(self) -> int:
        """The size of such an array, rounded up to ALIGNMENT."""
        return -(-math.prod(self.shape) * np.dtype(self.dtype).itemsize // ALIGNMENT) * ALIGNMENT


class Slot:
    """Memory for one batch at a time. It grows with the largest batch.

    label: the name of the data in messages; descriptor: of memory that another process shares, which the slot closes. None: of
    new memory. Raises OSError.
    """

    def __init__(self, label: str, descriptor: int | None = None):
        self._label = label
        self.descriptor = os.memfd_create("ppema-batch") if descriptor is None else descriptor
        self._memory: mmap.mmap | None = None
        self.close = weakref.finalize(self, os.close, self.descriptor)

    def arrays(self, forms: Sequence[ArrayForm]) -> tuple[np.ndarray, ...]:
        """Arrays of these forms in the memory, one after the other, with what it holds there.

        The memory grows if necessary; arrays of smaller forms, returned before, keep their content. Raises DataError if there
        is not so much memory.
        """
        needed = sum(form.aligned_bytes for form in forms)
        try:
            memory = self._mapped(needed)
        except (OSError, OverflowError, ValueError) as error:  # the last two: it exceeds the address space
            raise DataError(f"{self._label}: no shared memory for a batch of {needed} bytes: {one_line(error)}") from error
        made, offset = [], 0
        for form in forms:
            made.append(np.frombuffer(memory, form.dtype, math.prod(form.shape), offset).reshape(form.shape))
            offset += form.aligned_bytes
        return tuple(made)

    def _mapped(self, needed: int) -> mmap.mmap:
        if self._memory is None or len(self._memory) < needed:
            if os.fstat(self.descriptor).st_size < needed:
                # Twice as much as before: pages are taken when they are written. A file never shrinks, so that no map of it
                # loses its end.
                os.truncate(self.descriptor, max(needed, 2 * len(self._memory or b"")))
            self._memory = mmap.mmap(self.descriptor, 0)
        return self._memory
