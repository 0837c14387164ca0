"""Arrays that one rank reads or builds for all."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from ppema.checkpoint.tensors import Arrays
from ppema.distributed.parcels import type_name
from ppema.distributed.shared_work import by_first
from ppema.distributed.whole_arrays import copy_whole, put_together
from ppema.distributed.world import World


def arrays_of_first(world: World, read: Callable[[], Arrays]) -> Arrays:
    """The arrays of `read()`, which rank 0 alone calls, on all ranks. Raises as `made_by_first` does."""
    return made_by_first(world, lambda: (None, read()), "the weights")[1]


def made_by_first(world: World, make: Callable[[], tuple[Any, Arrays]], what: str) -> tuple[Any, Arrays]:
    """What `make()` returns on rank 0, which alone calls it, on all ranks: values of JSON, and arrays by name.

    what: the work, in words. Besides the arrays, a few MiB are in memory at a time. Raises what `make` raises, if that is an
    error for users, on all ranks, and PeerError.
    """
    if world.alone:
        return make()
    made: tuple[Any, Arrays] = None, {}

    def head() -> bytes:
        nonlocal made
        made = make()
        return json.dumps([made[0], [(name, type_name(each.dtype), each.shape) for name, each in made[1].items()]]).encode()

    facts, forms = json.loads(by_first(world, head, what))
    types, shapes = {name: dtype for name, dtype, _ in forms}, {name: tuple(shape) for name, _, shape in forms}
    world.meet(what)
    found = put_together(world, shapes, types, partial(copy_whole, made[1]))
    if world.first:
        for _ in found:
            pass
        return made
    return facts, dict(found)
