"""Arrays that rank 0 reads for all: their bits, its errors, and the memory that the exchange takes."""

from __future__ import annotations

import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from support.worlds import on_ranks

from ppema.distributed import whole_arrays
from ppema.distributed.world import World
from ppema.errors import CheckpointError
from ppema.ranks import Ranks
from ppema.weights.shared_arrays import arrays_of_first, made_by_first

ARRAYS = {
    "scalar": np.array(3, "int64"),
    "flag": np.array([True]),
    "swapped": np.array([[0.1, np.nan, -0.0]], ">f8"),
    "empty": np.zeros((0, 3), "uint16"),
    "transposed": np.arange(6, dtype="float32").reshape(2, 3).T,
    "half": np.array([1.5, -2], ml_dtypes.bfloat16),
    "large": np.random.default_rng(0).normal(size=(40, 7)).astype("float32"),
}


def bits(arrays):
    return {name: (each.dtype, each.shape, each.tobytes()) for name, each in arrays.items()}


@pytest.mark.parametrize("together", [1, 100, 1 << 22])
def test_all_ranks_get_the_bits(monkeypatch, together):
    monkeypatch.setattr(whole_arrays, "_TOGETHER", together)

    def make():
        return ["a", float("inf")], ARRAYS

    def work(world):
        return made_by_first(world, make if world.first else None, "the weights")

    for facts, arrays in on_ranks(3, work):
        assert facts == ["a", float("inf")] and list(arrays) == list(ARRAYS)
        assert bits(arrays) == bits(ARRAYS)
    assert bits(on_ranks(2, lambda world: arrays_of_first(world, dict))[1]) == {}


def test_what_rank_0_can_not_read_is_an_error_of_all():
    def read():
        raise CheckpointError("the file is torn")

    assert [str(each) for each in on_ranks(2, lambda world: arrays_of_first(world, read))] == ["the file is torn"] * 2


class OneOfTwo(World):
    """The World of a rank that is alone in its process. sent: what rank 0 gathered."""

    sent = b""

    def meet(self, what):
        """See `World.meet`."""

    def gather(self, data, what):
        """See `World.gather`."""
        if self.first:
            OneOfTwo.sent = data
        return [OneOfTwo.sent, b"made    "]

    def add_up(self, table):
        """See `World.add_up`."""


@pytest.mark.parametrize("rank", [0, 1])
def test_the_exchange_takes_little_more_memory_than_the_arrays(rank):
    mib = 1 << 20
    for each in range(rank + 1):  # rank 1 needs what rank 0 sends
        tracemalloc.start()
        arrays = arrays_of_first(
            OneOfTwo(Ranks(each, 2, each, 2)), lambda: {str(name): np.zeros(mib // 4, "float32") for name in range(40)}
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(arrays) == 40
    assert 40 * mib <= peak < 50 * mib
