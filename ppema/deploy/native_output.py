"""Keeps what Paddle's native code prints out of the output of a command."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_STDOUT = 1


@contextmanager
def without_native_output() -> Iterator[None]:
    """A block in which the process writes nothing to stdout; stderr is as ever.

    The passes of `paddle.inference` print to it, such as `ReduceMeanCheckIfOneDNNSupport`. It holds for all threads, and for
    buffers of C. What `sys.stdout` has in its own buffer is written later.
    """
    flush = ctypes.CDLL(None).fflush
    flush(None)
    try:
        kept = os.dup(_STDOUT)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.dup2(nowhere, _STDOUT)
        yield
    finally:
        flush(None)
        os.dup2(kept, _STDOUT)
        os.close(kept)
        os.close(nowhere)
