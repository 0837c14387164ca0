"""The rules for the fields of a sample."""

import numpy as np
import pytest
from PIL import Image
from support.datasets import Listed

from ppema.data.fields import Field, to_fields
from ppema.data.read import describe
from ppema.errors import DataError


class Tensor:
    """An object that numpy reads through `__array__`, as it reads paddle's tensors."""

    def __array__(self, dtype=None, copy=None):
        return np.array([1.5, 2.5], np.float64)


class Brain:
    """A tensor whose dtype numpy would read as uint16."""

    dtype = "paddle.bfloat16"

    def __array__(self, dtype=None, copy=None):
        return np.array([1], np.uint16)


Value = type("Value", (), {"__module__": "paddle.base.libpaddle.pir"})


@pytest.mark.parametrize(
    ("value", "shape", "dtype"),
    [
        (0.5, [], "float32"),
        (3, [], "int64"),
        (True, [], "int64"),
        ([1, 2], [2], "int64"),
        ((0.5, 1), [2], "float32"),
        (np.float16(0.5), [], "float32"),
        (np.zeros((2, 1), np.float64), [2, 1], "float32"),
        (np.zeros(1, np.float32), [1], "float32"),
        (np.zeros(1, np.int32), [1], "int64"),
        (np.zeros((1, 1), np.uint16), [1, 1], "int64"),
        (np.zeros(2, bool), [2], "int64"),
        (Tensor(), [2], "float32"),
    ],
)
def test_inputs(value, shape, dtype):
    array = to_fields((value, 0))[0]
    assert (list(array.shape), array.dtype.name) == (shape, dtype)
    np.testing.assert_array_equal(array, np.asarray(value))


@pytest.mark.parametrize(
    ("value", "shape", "dtype"),
    [
        (np.array([7], np.int16), [], "int64"),
        ([7], [], "int64"),
        (np.uint8(255), [], "int64"),
        (np.array([[7]]), [1, 1], "int64"),
        ([0.5], [1], "float32"),
    ],
)
def test_targets(value, shape, dtype):
    array = to_fields([0.5, value])[1]
    assert (list(array.shape), array.dtype.name) == (shape, dtype)
    assert array.ravel()[0] == np.asarray(value).ravel()[0]


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (np.zeros(3), "expected a tuple (input, ..., target), got ndarray"),
        ({"x": 1, "y": 2}, "expected a tuple (input, ..., target), got dict"),
        ((1.0,), "expected (input, ..., target), got 1 field"),
        ((), "expected (input, ..., target), got 0 fields"),
        ((np.uint8(1), 0), "input 0: dtype uint8: return images as float32 in [0, 1], or ids as int64"),
        (
            (0.5, Image.new("RGB", (2, 2)), 0),
            "input 1: dtype uint8: return images as float32 in [0, 1], or ids as int64",
        ),
        (("cat", 0), "input 0: dtype <U3 is neither numbers nor booleans"),
        ((0.5, None), "target: dtype object is neither numbers nor booleans"),
        ((1j, 0), "input 0: dtype complex128 is neither numbers nor booleans"),
        (([], 0), "input 0: shape [0] holds nothing"),
        ((1e39, 0), "input 0: float64 values beyond the range of float32"),
        ((0.5, 2**63), "target: uint64 values beyond the range of int64"),
        ((Brain(), 0), "input 0: dtype bfloat16: return float32"),
        (
            (Value(), 0),
            "input 0: a paddle Value of the static graph, not data; use numpy in data sets "
            "(of paddle.vision.transforms: Transpose, not ToTensor)",
        ),
    ],
)
def test_refused(sample, message):
    with pytest.raises(DataError) as caught:
        to_fields(sample)
    assert str(caught.value) == message


def test_infinity_stays():
    assert to_fields((np.array([np.inf, np.nan]), 0))[0].tolist()[0] == np.inf


def test_describe():
    fields = describe(Listed((np.zeros((3, 4)), 1, [2])), "data.eval")
    assert fields == (Field((3, 4), "float32"), Field((), "int64"), Field((), "int64"))
    assert str(fields[0]) == "float32 [3, 4]"


def test_describe_names_the_sample():
    with pytest.raises(DataError) as caught:
        describe(Listed((np.zeros((2, 2)), 0, "label")), "data.eval")
    assert str(caught.value) == "data.eval: sample 0: target: dtype <U5 is neither numbers nor booleans"
