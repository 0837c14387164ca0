"""The loader with worker processes: equal batches, no hang, and no process that survives."""

import functools
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
from support import collates, datasets
from support.datasets import BothGenerators, Interrupting, Listed, OpensOnce, Readers, Squares, Texts
from support.where import where
from test_loader import same

from ppema.data.fields import FieldNames
from ppema.data.layout import Layout, Padding
from ppema.data.loader import Loader
from ppema.errors import DataError
from ppema.ranks import Ranks

TEXT = FieldNames(("tokens",), ("label",))

SHAPES = {"tokens": (-1,)}


@pytest.fixture
def loaders():
    made = []

    def make(dataset, **options):
        made.append(Loader(dataset, **{"batch_size": 2, "workers": 2, **options}))
        return made[-1]

    yield make
    for loader in made:
        loader.close()
    assert multiprocessing.active_children() == []


def test_the_same_batches_for_any_number_of_workers(loaders):
    options = {"batch_size": 2, "shuffle": True, "seed": 4}
    for dataset in (BothGenerators(), Squares(11)):
        alone = Loader(dataset, **options)
        many = loaders(dataset, **options)
        for epoch, start in [(0, 0), (0, 0), (3, 2), (1, 5), (1, 6)]:
            assert same(list(alone.epoch(epoch, start)), list(many.epoch(epoch, start)))
        many.close()


def test_all_workers_read_for_a_rank(loaders):
    """A rank that reads every second batch would otherwise keep one of two workers idle."""
    many, alone = loaders(BothGenerators(), batch_size=1), Loader(BothGenerators(), batch_size=1)
    readers = loaders(Readers(), batch_size=1)
    for rank, size in [(0, 2), (1, 2), (2, 3), (0, 4), (12, 20)]:
        found = list(many.epoch(1, ranks=Ranks(rank, size)))
        assert same(found, list(alone.epoch(1, ranks=Ranks(rank, size))))
        assert len({batch.arrays[0].item() for batch in readers.epoch(1, ranks=Ranks(rank, size))}) == min(2, len(found))


def test_a_part_of_the_samples(loaders):
    indices = np.array([1, 2, 5, 8, 9])
    options = {"batch_size": 2, "shuffle": True, "seed": 4, "indices": indices}
    alone, many = Loader(BothGenerators(), **options), loaders(BothGenerators(), **options)
    assert same(list(alone.epoch(3, 1)), list(many.epoch(3, 1)))
    batches = list(alone.epoch(3))
    assert sorted(np.concatenate([batch.indices for batch in batches]).tolist()) == indices.tolist()
    assert [len(batch.indices) for batch in batches] == [2, 2, 1]
    whole = next(iter(Loader(BothGenerators(), batch_size=11, seed=4).epoch(3)))
    np.testing.assert_array_equal(batches[0].arrays[0], whole.arrays[0][batches[0].indices])
    assert alone.others.tolist() == [0, 3, 4, 6, 7, 10]
    assert same(list(alone.epoch(3)), list(alone.twin(drop_last=False).epoch(3)))


def test_mappings(loaders):
    samples = [{"text": [i, i + 1], "label": i, "unused": "text"} for i in range(5)]
    options = {"batch_size": 2, "layout": Layout(FieldNames(("text",), ("label",)))}
    many = loaders(Listed(*samples), **options)
    assert same(list(Loader(Listed(*samples), **options).epoch(0)), list(many.epoch(0)))
    assert [field.name for field in many.fields] == ["text", "label"]


def test_batches_are_not_overwritten_later(loaders):
    batches = list(loaders(Squares(40), batch_size=1).epoch(0))
    assert [batch.arrays[0][0].tolist() for batch in batches] == [[i, i * i] for i in range(40)]


def test_an_epoch_may_be_left_early(loaders):
    loader = loaders(Squares(20))
    for left_after in (0, 1, 3):
        epoch = loader.epoch(left_after)
        for _ in range(left_after):
            next(epoch)
        epoch.close()
    first, second = loader.epoch(0), loader.epoch(1)
    with pytest.raises(RuntimeError, match="this epoch is over"):
        next(first)
    assert [batch.indices.tolist() for batch in second] == [[i, i + 1] for i in range(0, 20, 2)]


def test_a_sample_that_raises(loaders):
    loader = loaders(Squares(12, raise_at=7))
    epoch = loader.epoch(0)
    assert [next(epoch).indices[0] for _ in range(3)] == [0, 2, 4]
    with pytest.raises(DataError) as caught:
        next(epoch)
    line = where(datasets, "raise ValueError")
    assert str(caught.value) == f"data.train: sample 7: ValueError: no such picture ({line})"
    assert [batch.indices[0] for batch in loader.epoch(0, 4)] == [8, 10]


def test_a_batch_that_is_larger_than_the_data(loaders):
    """The shared memory of a worker was once sized for `batch_size` samples, even if the data set has fewer."""
    (batch,) = loaders(Squares(5), batch_size=10**15).epoch(0)
    assert batch.indices.tolist() == [0, 1, 2, 3, 4] and len(batch.arrays[0]) == 5


def test_more_shared_memory_than_there_can_be(loaders):
    """The zeros take no memory here, as every row is the same one."""
    layout = Layout(shapes={"input_0": (-1,)}, collate=collates.grows_to(10**17))
    with pytest.raises(DataError, match=r"^data.train: no shared memory for a batch of 800000000000000064 bytes: "):
        list(loaders(Squares(4), layout=layout, workers=1).epoch(0))


@pytest.mark.parametrize(
    "layout", [Layout(TEXT, SHAPES, padding=Padding({"tokens": 7})), Layout(TEXT, SHAPES, collate=collates.padded)]
)
def test_batches_of_many_shapes(loaders, layout):
    """The shared memory grows, and is used again for smaller batches."""
    options = {"batch_size": 3, "shuffle": True, "layout": layout}
    alone, many = Loader(Texts(40), **options), loaders(Texts(40), **options)
    batches = list(alone.epoch(1))
    assert same(batches, list(many.epoch(1))) and same(batches[5:], list(many.epoch(1, 5)))
    lengths = [batch.arrays[0].shape[1] for batch in batches]
    assert lengths[:1] < lengths[3:4] and len(set(lengths)) > 5


def test_a_worker_that_dies(loaders):
    loader = loaders(Squares(12, die_at=5))
    epoch = loader.epoch(0)
    assert [next(epoch).indices[0] for _ in range(2)] == [0, 2]
    with pytest.raises(DataError) as caught:
        next(epoch)
    assert str(caught.value) == "data.train: worker 0 ended with exit code 3 while it read batch 2 of epoch 0"
    assert [batch.indices[0] for batch in loader.epoch(0, 3)] == [6, 8, 10]


def test_a_worker_that_dies_after_its_epoch_was_left(loaders):
    """A run reads the first batch of epoch 0 for its trial, then starts epoch 0 again."""
    loader = loaders(Squares(12, die_at=7))
    next(loader.epoch(0))
    with pytest.raises(DataError) as caught:
        list(loader.epoch(0))
    assert str(caught.value) == "data.train: worker 1 ended with exit code 3 while it read batch 3 of epoch 0"


def test_a_worker_that_is_killed(loaders):
    loader = loaders(Squares(1000, seconds=0.01), workers=1)
    epoch = loader.epoch(0)
    next(epoch)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(DataError, match=r"worker 0 was killed by SIGKILL \(out of memory\?\) while it read batch"):
        for _ in epoch:
            pass


@pytest.mark.filterwarnings("ignore")
def test_a_data_set_that_interrupts_its_worker(loaders, capfd):
    with pytest.raises(DataError, match="worker 1 ended with exit code 1 while it read batch 1 of epoch 0"):
        list(loaders(Interrupting()).epoch(0))
    capfd.readouterr()


def test_a_data_set_that_opens_only_once(loaders):
    line = where(datasets, 'raise OSError("locked')
    expected = f"data.train: the data set does not open in a worker: OSError: locked by another process ({line})"
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            list(loaders(OpensOnce()).epoch(0))
        assert str(caught.value) == expected


def test_a_data_set_that_opens_differently(loaders):
    with pytest.raises(DataError) as caught:
        list(loaders(Squares(8), open_dataset=functools.partial(Squares, 9)).epoch(0))
    assert str(caught.value) == "data.train: 9 samples in a worker, 8 in the main process"


def test_a_data_set_that_can_not_be_pickled(loaders):
    dataset = Squares(8)
    dataset.extra = lambda: None
    with pytest.raises(DataError, match=r"data\.train: can not be sent to worker processes: "):
        loaders(dataset).epoch(0)


def test_close_does_not_wait_for_a_hung_sample(loaders):
    dataset = Squares(8)
    loader = loaders(dataset)
    dataset.seconds = 1000
    failures = []

    def take():
        try:
            next(loader.epoch(0))
        except RuntimeError as error:
            failures.append(str(error))

    consumer = threading.Thread(target=take)
    consumer.start()
    time.sleep(0.4)
    began = time.monotonic()
    loader.close()
    consumer.join(60)
    assert time.monotonic() - began < 2
    assert failures == ["this epoch is over: its loader was closed or has begun another epoch"]


def test_big_batches(loaders):
    big = loaders(Squares(8_000), batch_size=4_000, shuffle=True)
    read = np.concatenate([batch.arrays[1] for batch in big.epoch(0)])
    assert sorted(read.tolist()) == list(range(8_000))
