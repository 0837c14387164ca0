"""ArrayDataset: the arrays that it accepts, and batches as rows."""

import numpy as np
import pytest

from ppema.data.fields import Field
from ppema.data.sets.arrays import ArrayDataset
from ppema.errors import DataError


def test_items_and_batches_are_rows():
    dataset = ArrayDataset((np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([[7], [8], [9]], np.uint8)), "here")
    assert len(dataset) == 3
    assert dataset.fields == (Field((2,), "float32"), Field((), "int64"))
    inputs, target = dataset[1]
    assert inputs.tolist() == [3.0, 4.0]
    assert target.shape == ()
    assert target == 8
    inputs, targets = dataset.batch(np.array([2, 0, 2]))
    assert inputs.tolist() == [[5.0, 6.0], [1.0, 2.0], [5.0, 6.0]]
    assert inputs.dtype == np.float32
    assert targets.tolist() == [9, 7, 9]
    assert targets.dtype == np.int64


def test_a_batch_is_a_copy():
    dataset = ArrayDataset((np.zeros((3, 1), np.float32), np.zeros(3, np.int64)), "here")
    dataset.batch(np.array([0, 1, 2]))[0][:] = 5
    assert dataset.arrays[0].max() == 0


X, Y = np.zeros((3, 2), np.float32), np.zeros(3, np.int64)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((X,), "here: expected at least one input and the target, got 1"),
        ((X, np.int64(3)), "here: a scalar where an array of samples was expected"),
        ((X, Y[:2]), "here: the numbers of samples differ: input 0 3, target 2"),
        ((X[:0], Y[:0]), "here: the data set is empty"),
        ((X, X.astype(np.uint8), Y), "here: input 1: dtype uint8: return images as float32 in [0, 1], or ids as int64"),
        ((X, np.array(["a", "b", "c"])), "here: target: dtype <U1 is neither numbers nor booleans"),
        ((X[:, :0], Y), "here: input 0: shape [3, 0] holds nothing"),
    ],
)
def test_refused(arrays, message):
    with pytest.raises(DataError) as caught:
        ArrayDataset(arrays, "here")
    assert str(caught.value) == message
