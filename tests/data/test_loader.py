"""The loader in one process: batches, order, resuming, randomness and errors."""

import itertools
import random
import threading
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import datasets
from support.datasets import BothGenerators, Interrupting, Listed, Squares, Stream, WithNan
from support.where import where

from ppema.data.fields import Field, FieldNames
from ppema.data.layout import Layout
from ppema.data.loader import Batch, Loader
from ppema.data.sets.arrays import ArrayDataset
from ppema.errors import DataError
from ppema.ranks import Ranks


def same(left: list[Batch], right: list[Batch]) -> bool:
    return len(left) == len(right) and all(
        a.indices.tolist() == b.indices.tolist()
        and all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a.arrays, b.arrays, strict=True))
        for a, b in zip(left, right, strict=True)
    )


def test_batches_by_hand():
    loader = Loader(Squares(5), batch_size=2)
    assert (loader.samples, loader.batch_size, loader.steps_per_epoch) == (5, 2, 3)
    assert loader.fields == (Field((2,), "float32", "input_0"), Field((), "int64", "target", is_target=True))
    batches = list(loader.epoch(0))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert batches[1].arrays[0].tolist() == [[2, 4], [3, 9]]
    assert batches[2].arrays[1].tolist() == [4]
    assert [array.dtype.name for array in batches[2].arrays] == ["float32", "int64"]


def test_drop_last():
    assert [batch.indices.tolist() for batch in Loader(Squares(5), batch_size=2, drop_last=True).epoch(0)] == [
        [0, 1],
        [2, 3],
    ]
    with pytest.raises(DataError) as caught:
        Loader(Squares(5), batch_size=6, drop_last=True, label="data.eval")
    assert str(caught.value) == "data.eval: 5 samples make no batch of 6, and drop_last is true"
    assert Loader(Squares(5), batch_size=6).steps_per_epoch == 1


def test_shuffled_epochs_cover_the_set_and_differ():
    loader = Loader(Squares(40), batch_size=7, shuffle=True, seed=3)
    orders = [np.concatenate([batch.indices for batch in loader.epoch(epoch)]).tolist() for epoch in range(2)]
    assert orders[0] != orders[1]
    assert all(sorted(order) == list(range(40)) for order in orders)
    for batch in loader.epoch(1):
        np.testing.assert_array_equal(batch.arrays[1], batch.indices)


@settings(max_examples=30)
@given(
    samples=st.integers(1, 25),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
    share=st.floats(0, 1),
    in_memory=st.booleans(),
)
def test_start_equals_skipping(samples, batch_size, seed, epoch, share, in_memory):
    dataset = Squares(samples)
    if in_memory:
        dataset = ArrayDataset(
            tuple(np.stack(column) for column in zip(*map(dataset.__getitem__, range(samples)), strict=True)), "memory"
        )
    loader = Loader(dataset, batch_size=batch_size, shuffle=True, seed=seed)
    start = round(share * loader.steps_per_epoch)
    assert same(list(loader.epoch(epoch))[start:], list(loader.epoch(epoch, start)))


def test_skipped_samples_are_not_read():
    dataset = Squares(10)
    loader = Loader(dataset, batch_size=2, shuffle=True)
    dataset.read.clear()
    wanted = [index for batch in loader.epoch(0, 3) for index in batch.indices.tolist()]
    assert dataset.read == wanted


def test_starts_out_of_range():
    loader = Loader(Squares(4), batch_size=2)
    assert list(loader.epoch(0, 2)) == []
    for arguments in [(0, 3), (0, -1), (-1, 0)]:
        with pytest.raises(ValueError, match="start"):
            loader.epoch(*arguments)
    with pytest.raises(ValueError, match="batch_size 0"):
        Loader(Squares(4), batch_size=0)


def test_draws_depend_on_seed_epoch_and_sample_only():
    def draws(seed, epoch, shuffle=False, start=0):
        loader = Loader(BothGenerators(), batch_size=3, seed=seed, shuffle=shuffle)
        batches = list(loader.epoch(epoch, start))
        rows = np.concatenate([batch.arrays[0] for batch in batches])
        return dict(zip(np.concatenate([batch.indices for batch in batches]).tolist(), rows.tolist(), strict=True))

    reference = draws(1, 2)
    assert reference == draws(1, 2)
    assert {index: row for index, row in reference.items() if index >= 6} == draws(1, 2, start=2)
    others = [draws(1, 3), draws(2, 2), draws(1, 2, shuffle=True)]
    assert all(other[5] != reference[5] for other in others[:2])
    assert others[2] == reference
    values = [value for row in reference.values() for value in row]
    assert len(set(values)) == len(values)


def test_the_global_generators_are_left_alone():
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.random()
    random.seed(1)
    np.random.seed(1)
    for _ in Loader(BothGenerators(), batch_size=3).epoch(0):
        pass
    assert (random.random(), np.random.random()) == expected


def error_of(dataset, **options):
    with pytest.raises(DataError) as caught:
        for _ in Loader(dataset, **{"batch_size": 4, **options}).epoch(0):
            pass
    return str(caught.value)


def test_a_sample_that_raises():
    line = where(datasets, "raise ValueError")
    assert error_of(Squares(10, raise_at=7)) == f"data.train: sample 7: ValueError: no such picture ({line})"
    loader = Loader(Squares(10, raise_at=7), batch_size=2)
    epoch = loader.epoch(0)
    assert [next(epoch).indices[0] for _ in range(3)] == [0, 2, 4]
    with pytest.raises(DataError):
        next(epoch)
    assert [thread.name for thread in threading.enumerate()].count("ppema-prefetch") == 0
    assert len(list(loader.epoch(0, 4))) == 1


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([([1.0], 0), ([1.0, 2.0], 0)], "input_0: float32 [2], but sample 0 has float32 [1]"),
        ([([1.0], 0), ([1], 0)], "input_0: int64 [1], but sample 0 has float32 [1]"),
        ([([1.0], 0), ([1.0], 0.5)], "target: float32 [], but sample 0 has int64 []"),
        ([([1.0], 0), ([1.0], [0.0], 0)], "3 fields, but sample 0 has 2"),
        ([([1.0], 0), ([1.0],)], "expected (input, ..., target), got 1 field"),
        ([([1.0], 0), ([1.0, [2.0]], 0)], "ValueError: setting an array element with a sequence."),
    ],
)
def test_a_sample_unlike_the_first(samples, message):
    assert error_of(Listed(*samples)).startswith(f"data.train: sample 1: {message}")


def test_not_a_map_style_data_set():
    assert error_of([], label="data.eval") == "data.eval: the data set is empty"
    assert (
        error_of(Stream()) == "data.train: Stream has no __len__ and no __getitem__; a data set needs __len__ and __getitem__, "
        "to be shuffled and resumed"
    )


def test_keyboard_interrupt_passes_through():
    epoch = Loader(Interrupting(), batch_size=2).epoch(0)
    next(epoch)
    with pytest.raises(KeyboardInterrupt):
        next(epoch)


def in_memory(size: int) -> ArrayDataset:
    """A loader of eight samples in batches of four. Batches are read on request, or in a thread if `size` is large."""
    return ArrayDataset([np.zeros((8, size), "float32"), np.arange(8)], "memory")


@pytest.mark.parametrize(("size", "threads"), [(65534, 0), (65535, 1)])
def test_large_batches_in_memory_are_read_ahead_in_a_thread(size, threads):
    loader = Loader(in_memory(size), batch_size=4)
    epoch, before = loader.epoch(0), threading.active_count()
    assert next(epoch).indices.tolist() == [0, 1, 2, 3]
    assert threading.active_count() - before == threads
    epoch.close()
    assert threading.active_count() == before


def test_small_batches_in_memory_end_with_their_epoch_too():
    loader = Loader(in_memory(1), batch_size=4)
    first = loader.epoch(0)
    next(first)
    second = loader.epoch(1)
    with pytest.raises(RuntimeError, match="this epoch is over"):
        next(first)
    assert [batch.indices.tolist() for batch in second] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    third = loader.epoch(2)
    loader.close()
    with pytest.raises(RuntimeError, match="this epoch is over"):
        next(third)


def test_one_epoch_at_a_time():
    loader = Loader(Squares(10), batch_size=1)
    first = loader.epoch(0)
    next(first)
    second = loader.epoch(0)
    next(second)
    with pytest.raises(RuntimeError, match="this epoch is over"):
        next(first)
    assert next(second).indices.tolist() == [1]
    loader.close()
    with pytest.raises(RuntimeError, match="this epoch is over"):
        next(second)
    assert len(list(loader.epoch(0))) == 10


def test_workers_are_ignored_aloud_for_data_in_memory():
    dataset = ArrayDataset((np.zeros((3, 1)), np.zeros(3)), "memory")
    with pytest.warns(UserWarning, match="data.train: workers: 2 is ignored: the data is in memory"):
        loader = Loader(dataset, batch_size=2, workers=2)
    assert len(list(loader.epoch(0))) == 2


def test_known_arrays_by_field():
    names = FieldNames(("image",), ("label",))
    loader = Loader(in_memory(2), batch_size=4, layout=Layout(names))
    assert loader.known is not None
    assert {name: array.shape for name, array in loader.known.items()} == {"image": (8, 2), "label": (8,)}
    assert [field.name for field in loader.twin(drop_last=True).fields] == ["image", "label"]
    assert Loader(Squares(4), batch_size=2, layout=Layout(names)).known is None


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_is_not_finite_is_named_where_it_is_refused(workers):
    said = "data.eval: sample 5: input_0 holds nan: an evaluation requires finite numbers: fill the value in, or leave the"
    with closing(Loader(WithNan(), batch_size=2, workers=workers, label="data.eval", finite=True)) as loader:
        batches = loader.epoch(0)
        assert [len(next(batches).indices) for _ in range(2)] == [2, 2]
        with pytest.raises(DataError, match=f"^{said}"):
            next(batches)
    with closing(Loader(WithNan(), batch_size=2, workers=workers)) as loader:
        assert len(list(loader.epoch(0))) == 5


def test_samples_in_memory_that_are_not_finite_are_refused_at_once():
    inputs, targets = map(np.stack, zip(*(WithNan(bad_input=False)[index] for index in range(9)), strict=True))
    data = ArrayDataset((inputs, targets), "memory")
    with pytest.raises(DataError, match="^data.eval: sample 7: target holds -inf: "):
        Loader(data, batch_size=2, label="data.eval", finite=True)
    others = Loader(data, batch_size=2, indices=np.array([0, 8]), finite=True)
    assert [batch.indices.tolist() for batch in others.epoch(0)] == [[0, 8]]
    with pytest.raises(DataError, match="sample 7: target"):
        others.part(np.array([3, 7]), batch_size=1, workers=0, finite=True)


def test_ranks_share_the_batches_of_an_epoch():
    loader = Loader(BothGenerators(), batch_size=2, shuffle=True, seed=4)
    for start in (0, 1, 3):
        whole = list(loader.epoch(3, start))
        assert [batch.number for batch in whole] == list(range(start, 6))
        for size in (2, 3, 8):
            parts = [list(loader.epoch(3, start, ranks=Ranks(rank, size))) for rank in range(size)]
            assert all(batch.number % size == rank for rank, part in enumerate(parts) for batch in part)
            assert same(whole, sorted(itertools.chain(*parts), key=lambda batch: batch.number))
