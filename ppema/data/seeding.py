"""The global generators, `random` and `np.random`, as a data set sees them: seeded anew before each sample."""

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
    """Inside, this thread may reseed the global generators; afterwards they are as they were.

    One thread at a time: other loaders wait. A thread that draws from them without asking, while a loader's thread
    reads samples, would disturb both; programs that do so should draw from a generator of their own, or let the loader
    read in processes (`workers` ≥ 1).
    """
    with _borrowed:
        python, numpy = random.getstate(), np.random.get_state()
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def seed_generators(seed: int, epoch: int, index: int) -> None:
    """Seed both global generators from the three numbers alone: a hash of them, so that near numbers share nothing."""
    digest = hashlib.blake2b(f"{seed} {epoch} {index}".encode(), digest_size=32).digest()
    random.seed(int.from_bytes(digest[:16], "little"))
    np.random.seed(np.frombuffer(digest[16:], "<u4"))
