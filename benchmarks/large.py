"""Measures an average of a model of a billion weights, or of as many as fit into memory."""

from __future__ import annotations

from benchmarks.limit import adding, beside_limit
from benchmarks.measure import Found, Options
from benchmarks.peer import compare
from ppema.environment import available_memory, threads_in_use

OURS = "benchmarks.ours:update"
MOST = 10**9
SIZE = 4096 * 4096  # numbers in a tensor
BYTES = 16  # for each number: its weight and shadow of ours, and the two of numpy
SHARE = 0.7  # of the memory that is available
AIM = 1.1


def measure(options: Options) -> Found:
    """One update of the average, beside the memory limit."""
    count = min(MOST, int(available_memory() * SHARE / BYTES)) // SIZE
    if not count:
        return Found([], ["large: less memory than an average of 17 million weights needs"])
    shapes = [[4096, 4096]] * count
    threads = threads_in_use()
    # Numpy in one thread would be a third process, for which there is no memory.
    ours, adds = compare(options.rounds, (OURS, shapes, 1), adding(shapes)[threads])
    name = f"EMA update of {count * SIZE / 1e6:.0f} M weights in {count} tensors"
    return Found([beside_limit(name, count * SIZE, 12, ours, {threads: adds}, AIM)])
