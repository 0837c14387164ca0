"""The rules for the fields of a sample."""

import numpy as np
import pytest
from PIL import Image
from support.datasets import Listed

from ppema.data.fields import Field, FieldNames, to_fields
from ppema.data.layout import Layout
from ppema.data.read import BatchReader
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
        (
            {"tokens": 1, "mask": 2, "label": 3},
            "a mapping of tokens, mask, label: name the fields in the config, as in "
            "data: {inputs: [tokens, mask], targets: [label]}",
        ),
        ((1.0,), "expected (input, ..., target), got 1 field"),
        ((), "expected (input, ..., target), got 0 fields"),
        ((np.uint8(1), 0), "input_0: dtype uint8: return images as float32 in [0, 1], or ids as int64"),
        (
            (0.5, Image.new("RGB", (2, 2)), 0),
            "input_1: dtype uint8: return images as float32 in [0, 1], or ids as int64",
        ),
        (("cat", 0), "input_0: dtype <U3 is neither numbers nor booleans"),
        ((0.5, None), "target: dtype object is neither numbers nor booleans"),
        ((1j, 0), "input_0: dtype complex128 is neither numbers nor booleans"),
        (([], 0), "input_0: shape [0] holds nothing"),
        ((1e39, 0), "input_0: float64 values beyond the range of float32"),
        ((0.5, 2**63), "target: uint64 values beyond the range of int64"),
        ((Brain(), 0), "input_0: dtype bfloat16: return float32"),
        (
            (Value(), 0),
            "input_0: a paddle Value of the static graph, not data; use numpy in data sets "
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
    fields = BatchReader.open(Listed((np.zeros((3, 4)), 1, [2])), Layout(), 0, "data.eval").fields
    assert fields == (
        Field((3, 4), "float32", "input_0"),
        Field((), "int64", "input_1"),
        Field((), "int64", "target", is_target=True),
    )
    assert str(fields[0]) == "float32 [3, 4]"


def test_describe_names_the_sample():
    with pytest.raises(DataError) as caught:
        BatchReader.open(Listed((np.zeros((2, 2)), 0, "label")), Layout(), 0, "data.eval")
    assert str(caught.value) == "data.eval: sample 0: target: dtype <U5 is neither numbers nor booleans"


NAMES = FieldNames(("tokens",), ("mask", "label"))


@pytest.mark.parametrize(
    "sample", [([0.5], np.uint8([1]), [3]), {"label": [3], "more": "text", "mask": np.uint8([1]), "tokens": [0.5]}]
)
def test_named(sample):
    arrays = to_fields(sample, NAMES)
    assert [array.tolist() for array in arrays] == [[0.5], 1, 3]
    assert NAMES.fields(arrays) == (
        Field((1,), "float32", "tokens"),
        Field((), "int64", "mask", is_target=True),
        Field((), "int64", "label", is_target=True),
    )


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ((1, 2), "expected 3 fields, tokens, mask, label, got 2"),
        (np.zeros(3), "expected a mapping or a tuple of tokens, mask, label, got ndarray"),
        ({"tokens": 1, "masks": 2, "label": 3}, "no field 'mask'; did you mean 'masks'?"),
        ({"x": 1}, "no field 'tokens'; it has x"),
        ({}, "no field 'tokens'; it has nothing"),
        ({"tokens": "cat", "mask": 2, "label": 3}, "tokens: dtype <U3 is neither numbers nor booleans"),
        (
            {"tokens": np.uint8(1), "mask": 2, "label": 3},
            "tokens: dtype uint8: return images as float32 in [0, 1], or ids as int64",
        ),
    ],
)
def test_named_refused(sample, message):
    with pytest.raises(DataError) as caught:
        to_fields(sample, NAMES)
    assert str(caught.value) == message
