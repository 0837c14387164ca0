"""The ranks of a command that reads a run and shares its batches, such as `ppema eval`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ppema.distributed.world import World, joined
from ppema.programs.device import place_of


@contextmanager
def all_ranks(device: str) -> Iterator[World]:
    """The World of this process: several ranks if Paddle's launcher started it. It is left at the end of the context.

    device: `runtime.device`. Raises SetupError.
    """
    world = joined(place_of(device))
    try:
        yield world
    finally:
        world.close()
