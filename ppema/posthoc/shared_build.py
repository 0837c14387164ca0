"""Averages that rank 0 builds for all ranks, as it alone reads snapshots and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ppema.distributed.parcels import packed, unpacked
from ppema.distributed.shared_work import by_first
from ppema.distributed.world import World
from ppema.posthoc.combine import Built


def built_by_first(world: World, build: Callable[[], Built]) -> Built:
    """`build()`, which rank 0 alone calls, on all ranks. Raises what it raises on all ranks, and PeerError."""
    if world.alone:
        return build()

    def sent() -> bytes:
        made = build()
        facts = [list(made.arrays), str(made.source), made.what, made.error, made.parts, sorted(made.left)]
        return packed(facts, list(made.arrays.values()))

    (names, source, what, error, parts, left), arrays = unpacked(by_first(world, sent, "an average"))
    return Built(dict(zip(names, arrays, strict=True)), Path(source), what, error, parts, frozenset(left))
