"""Averages that rank 0 builds for all ranks, as it alone reads snapshots and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ppema.checkpoint.tensors import Arrays
from ppema.distributed.world import World
from ppema.posthoc.combine import Built
from ppema.weights.shared_arrays import made_by_first


def built_by_first(world: World, build: Callable[[], Built]) -> Built:
    """`build()`, which rank 0 alone calls, on all ranks. Raises what it raises on all ranks, and PeerError."""

    def make() -> tuple[list[Any], Arrays]:
        made = build()
        return [str(made.source), made.what, made.error, made.parts, sorted(made.left)], made.arrays

    (source, what, error, parts, left), arrays = made_by_first(world, make, "an average")
    return Built(dict(arrays), Path(source), what, error, parts, frozenset(left))
