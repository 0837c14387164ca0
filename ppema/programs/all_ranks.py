"""The ranks of a command that reads a run and shares its batches, such as `ppema eval`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ppema.config import Config
from ppema.config.sections.runtime_section import Runtime
from ppema.distributed.world import World, joined
from ppema.programs.device import place_of


@contextmanager
def all_ranks(config: Config | None) -> Iterator[World]:
    """The World of this process: several ranks if Paddle's launcher started it. It is left at the end of the context.

    config: whose device is used; None: a GPU if there is one. An error of the context ends the other ranks, too. Raises
    SetupError.
    """
    runtime = Runtime() if config is None else config.runtime
    world = joined(place_of(runtime.device), runtime.rank_patience)
    with world.answering():
        yield world
    world.close()
