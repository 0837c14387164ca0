"""The shipped digits: their content and their split."""

import numpy as np

from ppema.data.fields import Field
from ppema.data.sets.digits import digits, is_test


def test_contents():
    train, test = digits("train"), digits("test")
    assert (len(train), len(test)) == (1442, 355)
    assert train.fields == test.fields == (Field((1, 8, 8), "float32", "input_0"), Field((), "int64", "target", is_target=True))
    # The first row of the file is a 0, the first of its class, so it belongs to the training split.
    first, label = train[0]
    assert (first[0, 0] * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert label == 0
    images = np.concatenate([train.arrays[0], test.arrays[0]])
    assert images.min() == 0
    assert images.max() == 1
    # UCI's counts of each class in this part of the data
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(np.concatenate([train.arrays[1], test.arrays[1]])).tolist() == counts
    assert np.bincount(test.arrays[1]).tolist() == [count // 5 for count in counts]


def test_every_fifth_of_each_class_is_for_testing():
    labels = np.array([0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1, 1])
    assert np.flatnonzero(is_test(labels)).tolist() == [5, 10]
