"""The end of a run of several ranks: no rank ends before the first one has written everything."""

from __future__ import annotations

from typing import NoReturn

from ppema.distributed.world import World
from ppema.errors import PpemaError

_WHAT = "the end of the run"


def end_together(world: World) -> None:
    """Wait until all ranks are here: Paddle's launcher kills the others if one ends with an error. Raises PeerError."""
    world.meet(_WHAT)


def fail_together(world: World, failure: PpemaError) -> NoReturn:
    """Raise `failure`, which all ranks found alike. The first one has saved, and says so: the others wait for its line."""
    if not world.first:
        world.meet(_WHAT)
    raise failure
