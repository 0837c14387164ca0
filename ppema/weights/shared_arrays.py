"""Arrays that one rank reads for all."""

from __future__ import annotations

from collections.abc import Callable

from ppema.checkpoint.tensors import Arrays
from ppema.distributed.parcels import packed, unpacked
from ppema.distributed.shared_work import by_first
from ppema.distributed.world import World


def arrays_of_first(world: World, read: Callable[[], Arrays]) -> Arrays:
    """The arrays of `read()`, which rank 0 alone calls, on all ranks. Raises what it raises on all ranks, and PeerError."""
    if world.alone:
        return read()

    def sent() -> bytes:
        arrays = read()
        return packed(list(arrays), list(arrays.values()))

    return dict(zip(*unpacked(by_first(world, sent, "the weights")), strict=True))
