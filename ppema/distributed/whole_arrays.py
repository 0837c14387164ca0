"""Puts arrays together of which the ranks have parts, a few MiB at a time: pieces of averages, or all that rank 0 has read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ppema.distributed.world import World

_TOGETHER = 1 << 22  # bytes: arrays are put together in groups of at least this size
_WORD = 8  # bytes: where each array of a group begins


def put_together(
    world: World,
    shapes: Mapping[str, tuple[int, ...]],
    types: Mapping[str, str],
    fill: Callable[[dict[str, np.ndarray]], None],
) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of which the ranks of `world` have parts, whole, by name and in the order of `shapes`, with their bits.

    types: numpy's names of their types; fill: copies this rank's part into given arrays of zeros, of which no other rank fills
    the same element. The ranks have met. An array shares its memory with its group only: those that follow are in other memory.
    Raises PeerError.
    """
    group: dict[str, int] = {}  # where each array begins, in bytes
    size, names = 0, list(shapes)
    for name in names:
        group[name] = size
        size += -(-math.prod(shapes[name]) * np.dtype(types[name]).itemsize // _WORD) * _WORD
        if size < _TOGETHER and name != names[-1]:
            continue
        table = np.zeros(max(size // _WORD, 1), np.int64)
        arrays = {each: _array(table, begin, types[each], shapes[each]) for each, begin in group.items()}
        fill(arrays)
        world.add_up(table)
        yield from arrays.items()
        group, size = {}, 0


def copy_whole(whole: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> None:
    """Fill those of `arrays` that are in `whole`, with their bits."""
    for name in arrays.keys() & whole.keys():
        np.copyto(arrays[name], whole[name])


def _array(table: np.ndarray, begin: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array that begins at a byte of a table."""
    form = np.dtype(dtype)
    return table.view(np.uint8)[begin : begin + math.prod(shape) * form.itemsize].view(form).reshape(shape)
