"""The memory limit of a piece of work: the time in which numpy moves as many bytes, measured in the same rounds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.measure import Figure
from ppema.environment import threads_in_use

MOVED = 12  # bytes for each number of a += b: it reads two and writes one
_ADD = "benchmarks.numpy_side:add"


def adding(shapes: Sequence[Sequence[int]]) -> dict[int, tuple[object, ...]]:
    """The sides that measure the limit, by threads: a += b over float32 arrays of these shapes, in one thread and in all."""
    return {count: (_ADD, shapes, count) for count in (1, threads_in_use())}


def beside_limit(
    name: str,
    numbers: int,
    each: int,
    ours: tuple[float, ...],
    adds: Mapping[int, tuple[float, ...]],
    aim: float | None = None,
) -> Figure:
    """The figure of work that moves `each` bytes for each of `numbers`.

    adds: the seconds of the sides of `adding`, by threads. The fastest one is the limit.
    """
    threads = min(adds, key=lambda count: statistics.median(adds[count]))
    fastest = adds[threads]
    speed = MOVED * numbers / statistics.median(fastest) / 1e9
    beside = f"{each} bytes a number at {speed:.1f} GB/s, numpy's a += b in {threads} thread{'s' if threads > 1 else ''}"
    return Figure(name, beside, ours, tuple(each / MOVED * seconds for seconds in fastest), aim=aim)
