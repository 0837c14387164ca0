"""ArrayDataset: the arrays that it accepts, and batches as rows."""

import numpy as np
import pytest

from ppema.data.fields import Field, FieldNames
from ppema.data.sets.arrays import ArrayDataset
from ppema.errors import DataError


def test_items_and_batches_are_rows():
    dataset = ArrayDataset((np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([[7], [8], [9]], np.uint8)), "here")
    assert len(dataset) == 3
    assert dataset.fields == (Field((2,), "float32", "input_0"), Field((), "int64", "target", is_target=True))
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
        ((X, Y[:2]), "here: the numbers of samples differ: input_0 3, target 2"),
        ((X[:0], Y[:0]), "here: the data set is empty"),
        ((X, X.astype(np.uint8), Y), "here: input_1: dtype uint8: return images as float32 in [0, 1], or ids as int64"),
        ((X, np.array(["a", "b", "c"])), "here: target: dtype <U1 is neither numbers nor booleans"),
        ((X[:, :0], Y), "here: input_0: shape [3, 0] holds nothing"),
    ],
)
def test_refused(arrays, message):
    with pytest.raises(DataError) as caught:
        ArrayDataset(arrays, "here")
    assert str(caught.value) == message


SEVERAL = FieldNames(("image",), ("mask", "label"))


def test_several_targets():
    masks, labels = np.zeros((3, 2), np.uint8), np.array([[1], [2], [3]])
    dataset = ArrayDataset((X, masks, labels), "here", SEVERAL)
    fields = (Field((2,), "float32", "image"), Field((2,), "int64", "mask", is_target=True), Field((), "int64", "label", True))
    assert dataset.fields == fields
    with pytest.raises(DataError, match="^here: mask: dtype <U1 is neither numbers nor booleans$"):
        ArrayDataset((X, np.array(["a", "b", "c"]), labels), "here", SEVERAL)


def test_names_of_a_config():
    class Shifted(ArrayDataset):
        def batch(self, indices):
            return tuple(array + 1 for array in super().batch(indices))

    unnamed = Shifted((X, X, np.array([[1], [2], [3]])), "here")
    renamed = unnamed.renamed(SEVERAL, "data.train")
    assert [field.name for field in renamed.fields] == ["image", "mask", "label"]
    assert [field.is_target for field in renamed.fields] == [False, True, True]
    assert renamed.batch(np.array([2]))[2].tolist() == [4]
    assert [field.name for field in renamed.renamed(SEVERAL, "data.eval").fields] == ["image", "mask", "label"]
    assert [field.name for field in unnamed.renamed(None, "data.train").fields] == ["input_0", "input_1", "target"]


@pytest.mark.parametrize(
    ("own", "names", "message"),
    [
        (SEVERAL, None, "data.eval: here has 1 input and 2 targets; data.inputs and data.targets must name them"),
        (
            SEVERAL,
            FieldNames(("a", "b"), ("c",)),
            "data.eval: here has 1 input and 2 targets; data.inputs and data.targets name 2 and 1",
        ),
        (
            None,
            FieldNames(("a",), ("c",)),
            "data.eval: here has 2 inputs and 1 target; data.inputs and data.targets name 1 and 1",
        ),
    ],
)
def test_names_that_do_not_fit(own, names, message):
    with pytest.raises(DataError) as caught:
        ArrayDataset((X, X, Y), "here", own).renamed(names, "data.eval")
    assert str(caught.value) == message
