"""Seeds the global generators, `random` and `np.random`, before each sample of a data set."""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
from collections.abc import Iterator

import numpy as np

_borrowed = threading.Lock()


@contextlib.contextmanager
def borrowed_generators() -> Iterator[None]:
    """Lets this thread reseed the global generators, and restores their states at the end.

    One thread borrows them at a time; other loaders wait. A thread that draws from them without borrowing disturbs a loader
    that reads samples, and is disturbed by it. Such a program should use its own generator, or read in processes
    (`workers` ≥ 1).
    """
    with _borrowed:
        python, numpy = random.getstate(), np.random.get_state()
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def seed_generators(*numbers: int) -> int:
    """Seed both global generators from a hash of the numbers, and return the hash, of 256 bits.

    Neighbouring numbers give unrelated draws.
    """
    digest = hashlib.blake2b(" ".join(map(str, numbers)).encode(), digest_size=32).digest()
    random.seed(int.from_bytes(digest[:16], "little"))
    np.random.seed(np.frombuffer(digest[16:], "<u4"))
    return int.from_bytes(digest, "little")
