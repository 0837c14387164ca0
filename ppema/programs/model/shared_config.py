"""Gives all ranks what a config gets from the folder of its run, which rank 0 alone reads."""

from __future__ import annotations

import json
from collections.abc import Callable

from ppema.config import Config
from ppema.config.sections.normalize import numbers_of
from ppema.distributed.shared_work import by_first
from ppema.distributed.world import World

_KEYS = {"normalize", "classes"}


def completed(world: World, config: Config, complete: Callable[[Config], Config]) -> Config:
    """`complete(config)`, which rank 0 alone calls, on all ranks: `config` with numbers of `data.normalize` and `data.classes`.

    Raises what `complete` raises on all ranks, and PeerError.
    """
    if world.alone:
        return complete(config)
    made = config

    def sent() -> bytes:
        nonlocal made
        made = complete(config)
        return json.dumps(made.data.model_dump(mode="json", include=_KEYS)).encode()

    found = json.loads(by_first(world, sent, "the config of the run"))
    world.enter("opening the data and building the programs", "slow")
    if world.first:
        return made
    numbers = numbers_of(found["normalize"])
    normalize = found["normalize"] if numbers is None else numbers
    return config.replace(data=config.data.replace(normalize=normalize, classes=found["classes"]))
