"""The split of a data set into a part for training and a part that is kept for evaluation."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.datasets import Squares

from ppema.config.sections.split import Split
from ppema.data.loader import Loader
from ppema.data.part import classes_of, split_samples
from ppema.data.sets.arrays import ArrayDataset
from ppema.errors import ConfigError

classes = st.lists(st.integers(-3, 4), min_size=2, max_size=70).map(np.array)


def shares(kept: np.ndarray, of: np.ndarray) -> dict[int, int]:
    return {int(each): int((of[kept] == each).sum()) for each in np.unique(of)}


@given(classes, st.integers(2, 6), st.integers(0, 9))
def test_folds_partition_the_samples_and_share_out_each_class(labels, folds, seed):
    count = len(labels)
    folds = min(folds, count)
    parts = [split_samples(count, labels, Split(fold=fold, of=folds, seed=seed)) for fold in range(folds)]
    assert sorted(np.concatenate([part.kept for part in parts]).tolist()) == list(range(count))
    for part in parts:
        assert part.kept.dtype == part.train.dtype == np.int64
        assert np.all(np.diff(part.kept) > 0)
        np.testing.assert_array_equal(part.train, np.setdiff1d(np.arange(count), part.kept))
        assert len(part.kept) in {count // folds, -(-count // folds)}
        for label, kept in shares(part.kept, labels).items():
            size = int((labels == label).sum())
            assert kept in {size // folds, -(-size // folds)}


@given(classes, st.floats(0.02, 0.98), st.integers(0, 9))
def test_a_fraction_keeps_that_share_of_each_class(labels, fraction, seed):
    count, size = len(labels), round(fraction * len(labels))
    if not 0 < size < count:
        return
    part = split_samples(count, labels, Split(fraction=fraction, seed=seed))
    assert len(part.kept) == size
    assert sorted([*part.kept.tolist(), *part.train.tolist()]) == list(range(count))
    for label, kept in shares(part.kept, labels).items():
        wanted = int((labels == label).sum()) * size / count
        assert math.floor(wanted) <= kept <= math.ceil(wanted)


def test_a_large_fraction_split_is_exact():
    labels = np.repeat([0, 1, 2], [100_000, 10_000, 1_000])
    part = split_samples(111_000, labels, Split(fraction=0.1))
    assert shares(part.kept, labels) == {0: 10_000, 1: 1_000, 2: 100}


def test_the_split_depends_on_its_seed_and_not_on_the_order_of_an_epoch():
    kept = [split_samples(60, None, Split(fraction=0.5, seed=seed)).kept.tolist() for seed in (0, 0, 1)]
    assert kept[0] == kept[1] != kept[2]
    assert kept[0] != sorted(np.random.default_rng([0, 0]).permutation(60)[:30].tolist())


def test_the_classes_of_a_split_without_regard_to_them_are_drawn():
    labels = np.repeat([0, 1], 50)
    counts = {shares(split_samples(100, None, Split(fraction=0.5, seed=seed)).kept, labels)[0] for seed in range(20)}
    assert len(counts) > 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Split(fold=0, of=5), "of: 5 folds of 4 samples: a fold would be empty"),
        (Split(fraction=0.1), "fraction: 0.1 of 4 samples are 0: a part would be empty"),
        (Split(fraction=0.9), "fraction: 0.9 of 4 samples are 4: a part would be empty"),
    ],
)
def test_an_empty_part(spec, message):
    with pytest.raises(ConfigError) as caught:
        split_samples(4, None, spec)
    assert str(caught.value) == message


class Targets(Squares):
    """Ten samples with targets as an attribute."""

    def __init__(self, targets):
        super().__init__()
        self.targets = targets


def test_where_classes_come_from():
    labels = np.arange(10) % 3
    arrays = ArrayDataset((np.zeros((10, 2)), labels), "memory")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(classes_of(Loader(arrays, batch_size=4)), labels)
        for targets in (labels, labels.tolist(), [[each] for each in labels]):
            dataset = Targets(targets)
            np.testing.assert_array_equal(classes_of(Loader(dataset, batch_size=4)), labels)
            assert dataset.read == [0]
        assert classes_of(Loader(ArrayDataset((np.zeros((10, 2)), labels / 2), "memory"), batch_size=4)) is None
    for targets in (labels[:4], [[1, 2], [3]], ["a"] * 10):
        with pytest.warns(UserWarning, match="read once") as said:
            np.testing.assert_array_equal(classes_of(Loader(Targets(targets), batch_size=4)), np.arange(10))
        assert [str(each.message) for each in said] == [
            "data.train: all 10 samples are read once for their classes; an attribute targets of the data set, or "
            "data.split.stratify: false, saves this"
        ]
