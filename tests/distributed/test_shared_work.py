"""What the ranks of a shared work exchange: parts, and the error of one."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from support.worlds import on_ranks

from ppema.data import GivenUp
from ppema.distributed.parcels import packed, unpacked
from ppema.distributed.shared_work import SharedWork, by_first
from ppema.distributed.world import ALONE
from ppema.errors import CheckpointError, ConfigError, DataError, Naming, PpemaError, Problem, Remedy, overridden
from ppema.programs.executor import FailedBatchError


def test_parcels_keep_bits_types_and_shapes():
    arrays = [
        np.array(3, "int64"),
        np.array([True]),
        np.array([[0.1, np.nan, -0.0]], ">f8"),
        np.zeros((0, 3), "uint16"),
        np.arange(6, dtype="float32").reshape(2, 3).T,
        np.array([1.5, -2], ml_dtypes.bfloat16),
    ]
    facts, found = unpacked(packed({"a": [1, "é", float("inf")]}, arrays))
    assert facts == {"a": [1, "é", float("inf")]}
    assert [(each.dtype, each.shape, each.tobytes()) for each in found] == [
        (each.dtype, each.shape, each.tobytes()) for each in arrays
    ]
    with pytest.raises(TypeError, match="Python objects are not sent"):
        packed(None, [np.array([None])])


ERRORS = [
    DataError("data.eval: sample 3: no such file"),
    FailedBatchError("an operation failed"),
    CheckpointError(Naming("{weights}: {} is a file", 3), Remedy("to go on")),
    PpemaError(Naming("{to}: expected {!r}", "x")),
    ConfigError([Problem(("metrics", 0), "it fails", "run.yml:3:5"), Problem(("lr",), "b", overridden("lr"))]),
    GivenUp(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_error_of_one_rank_is_raised_by_all(error):
    def work(world):
        share = SharedWork(world, "work")
        with share.trying():
            if world.ranks.rank == 1:
                raise error
        return share.gather(lambda: b"made")

    found = on_ranks(3, work)
    assert found[1] is error
    for each in found:
        assert type(each) is type(error)
        assert str(each) == str(error)
        if isinstance(error, PpemaError):
            assert each.exit_code == error.exit_code
            assert each.worded(lambda name: f"--{name}") == error.worded(lambda name: f"--{name}")
            assert not isinstance(each, CheckpointError) or each is error or each.remedy is None


def test_of_several_errors_that_of_the_lowest_batch_is_raised():
    def work(world):
        share, fails_at = SharedWork(world, "work"), {0: 6, 1: 4, 2: 11}[world.ranks.rank]
        with share.trying():
            for batch in range(world.ranks.rank, 12, 3):
                assert share.at == batch
                if batch == fails_at or (world.ranks.rank == 2 and batch == 11):
                    raise DataError(f"batch {batch}")
                share.at += 3
        return share.gather(bytes)

    assert [str(each) for each in on_ranks(3, work)] == ["batch 4"] * 3


def test_an_error_while_the_part_is_made_reaches_all_too():
    def make():
        raise ConfigError.of("no")

    found = on_ranks(2, lambda world: by_first(world, make, "work"))
    assert [str(each) for each in found] == ["no"] * 2
    assert on_ranks(2, lambda world: by_first(world, lambda: b"x" * (1 + world.ranks.rank), "work")) == [b"x"] * 2


def test_a_fault_after_a_work_of_rank_0_names_what_it_made():
    def last(world):
        said = []
        world.enter = lambda activity, sort="alone": said.append(activity)
        by_first(world, lambda: b"x", "the weights")
        return said[-1]

    assert on_ranks(2, last) == ["using the weights"] * 2


def test_another_error_is_raised_at_once_and_one_process_exchanges_nothing():
    def work(world):
        with SharedWork(world, "work").trying():
            raise KeyboardInterrupt

    assert [type(each) for each in on_ranks(2, work)] == [KeyboardInterrupt] * 2
    with pytest.raises(DataError), SharedWork(ALONE, "work").trying():
        raise DataError("at once")
    assert SharedWork(ALONE, "work").gather(lambda: b"whole") == [b"whole"]
