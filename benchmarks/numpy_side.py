"""Numpy's side: the limit of memory bandwidth for an update of averages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np


@contextmanager
def add(shapes: Sequence[Sequence[int]], threads: int) -> Iterator[Callable[[], object]]:
    """a += b over float32 arrays of these shapes. It reads two arrays and writes one, as an update of averages does.

    threads: the number of Python threads. The arrays are distributed by size; numpy releases the GIL.
    """
    targets = [np.zeros(shape, np.float32) for shape in shapes]
    sources = [np.full(shape, 0.5, np.float32) for shape in shapes]
    parts: list[list[int]] = [[] for _ in range(threads)]
    for index in sorted(range(len(targets)), key=lambda index: -targets[index].size):
        min(parts, key=lambda part: sum(targets[each].size for each in part)).append(index)

    def run(part: Sequence[int]) -> None:
        for index in part:
            np.add(targets[index], sources[index], out=targets[index])

    if threads == 1:
        yield lambda: run(parts[0])
        return
    with ThreadPoolExecutor(threads) as pool:
        yield lambda: list(pool.map(run, parts))
