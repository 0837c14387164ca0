"""The parts of an average that the ranks of a run hold: pieces of its arrays, of the same number of elements on each rank."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Piece:
    """The elements of an array from `begin` to before `end`, in the order of memory."""

    begin: int
    end: int

    @property
    def size(self) -> int:
        """The number of its elements."""
        return self.end - self.begin

    def of(self, array: np.ndarray) -> np.ndarray:
        """The piece of a contiguous array: a view [size]."""
        return array.reshape(-1)[self.begin : self.end]


@dataclass(frozen=True)
class Sharding:
    """How N ranks share arrays: rank r holds the elements total·r//N to before total·(r+1)//N of all arrays, one by one.

    So the ranks hold equal parts whatever the shapes, and at most two arrays of a rank are cut.

    shapes: of the arrays by name, in order. rank: r, of this process. ranks: N.
    """

    shapes: Mapping[str, tuple[int, ...]]
    rank: int
    ranks: int

    def pieces(self, rank: int) -> dict[str, Piece]:
        """The pieces that `rank` holds, by array's name. Arrays of which it holds nothing are left out."""
        sizes = {name: math.prod(shape) for name, shape in self.shapes.items()}
        total, at, found = sum(sizes.values()), 0, {}
        first, last = (total * each // self.ranks for each in (rank, rank + 1))
        for name, size in sizes.items():
            begin, end = max(first - at, 0), min(last - at, size)
            if begin < end:
                found[name] = Piece(begin, end)
            at += size
        return found

    @cached_property
    def own(self) -> dict[str, Piece]:
        """The pieces that this rank holds."""
        return self.pieces(self.rank)

    @cached_property
    def cuts(self) -> dict[str, Piece]:
        """Those of them that are not the whole array."""
        return {name: piece for name, piece in self.own.items() if piece.size < math.prod(self.shapes[name])}

    def held_shape(self, name: str) -> tuple[int, ...]:
        """The shape in which this rank keeps its piece of an array: the array's own, or [n] if it is cut."""
        return (self.cuts[name].size,) if name in self.cuts else self.shapes[name]
