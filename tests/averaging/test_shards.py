"""The pieces of arrays that ranks hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppema.averaging.shards import Piece, Sharding

SHAPES = {"scalar": (), "one": (1,), "large": (7, 31, 3), "small": (2, 2), "none": (0, 3)}
TOTAL = 1 + 1 + 651 + 4


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7, 657])
def test_the_ranks_hold_every_element_once_and_in_equal_parts(ranks):
    arrays = {name: np.arange(math.prod(shape)).reshape(shape) for name, shape in SHAPES.items()}
    found = {name: [] for name in SHAPES}
    sizes = []
    for rank in range(ranks):
        pieces = Sharding(SHAPES, rank, ranks).own
        sizes.append(sum(piece.size for piece in pieces.values()))
        for name, piece in pieces.items():
            found[name] += piece.of(arrays[name]).tolist()
    assert {name: array.reshape(-1).tolist() for name, array in arrays.items()} == found
    assert sum(sizes) == TOTAL
    assert max(sizes) - min(sizes) <= 1


def test_the_pieces_of_two_ranks():
    first, second = (Sharding(SHAPES, rank, 2) for rank in (0, 1))
    assert first.own == {"scalar": Piece(0, 1), "one": Piece(0, 1), "large": Piece(0, 326)}
    assert second.own == {"large": Piece(326, 651), "small": Piece(0, 4)}
    assert first.cuts == {"large": Piece(0, 326)}
    assert [first.held_shape(name) for name in first.own] == [(), (1,), (326,)]
    assert [second.held_shape(name) for name in second.own] == [(325,), (2, 2)]
    assert second.pieces(0) == first.own
