"""The fields of a sample, and the fixed rules that convert them to arrays of float32 or int64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppema.errors import DataError


@dataclass(frozen=True)
class Field:
    """Shape and dtype of one part of every sample.

    shape: without the batch axis; dtype: "float32" or "int64".
    """

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def field_of(array: np.ndarray) -> Field:
    """The Field of `array`, one part of one sample."""
    return Field(array.shape, array.dtype.name)


def field_name(position: int, count: int) -> str:
    """ "target" for the last of `count` fields; "input 0", "input 1", ... for the others."""
    return "target" if position == count - 1 else f"input {position}"


def convert(array: np.ndarray, *, target: bool, batch_axes: int = 0) -> np.ndarray:
    """Convert `array` to a dtype and shape that programs accept.

    - float16, float32, float64 and longer become float32; a finite value beyond float32's range is refused
    - bool and integers become int64; a uint64 value beyond int64's range is refused
    - a uint8 input is refused, because it is nearly always an unscaled image
    - an integer target of shape [1] loses that axis, because labels are scalars
    - every other dtype (object, str, complex, ...) and an empty array are refused

    The first `batch_axes` axes count samples and are not part of the shape. Raises DataError for a refused array.
    """
    if array.size == 0:
        raise DataError(f"shape {list(array.shape)} holds nothing")
    if array.dtype.kind == "f":
        try:
            with np.errstate(over="raise"):
                return array.astype(np.float32, copy=False)
        except FloatingPointError:
            raise DataError(f"{array.dtype} values beyond the range of float32") from None
    if array.dtype.kind not in "biu":
        raise DataError(f"dtype {array.dtype} is neither numbers nor booleans")
    if array.dtype == np.uint8 and not target:
        raise DataError("dtype uint8: return images as float32 in [0, 1], or ids as int64")
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise DataError("uint64 values beyond the range of int64")
    array = array.astype(np.int64, copy=False)
    if target and array.shape[batch_axes:] == (1,):
        return array.reshape(array.shape[:batch_axes])
    return array


def as_array(value: Any) -> np.ndarray:
    """Convert `value` to one array.

    value: a Python number, a list of numbers, a numpy array, or an object with `__array__`, such as a paddle tensor.

    Raises DataError for bfloat16, which numpy would read as other numbers, and for a value of a static graph, which has no
    data. Errors of numpy's conversion pass through.
    """
    kind = type(value)
    if kind.__module__.partition(".")[0] == "paddle" and not hasattr(value, "__array__"):
        raise DataError(
            f"a paddle {kind.__name__} of the static graph, not data; use numpy in data sets "
            "(of paddle.vision.transforms: Transpose, not ToTensor)"
        )
    if "bfloat16" in str(getattr(value, "dtype", "")):
        raise DataError("dtype bfloat16: return float32")
    return np.asarray(value)


def to_fields(sample: Any) -> tuple[np.ndarray, ...]:
    """Convert `sample`, a tuple or list (input, ..., target), by the rules of `as_array` and `convert`.

    Returns two or more arrays of float32 or int64; the last one is the target. Raises DataError, which names the field.
    """
    if not isinstance(sample, (tuple, list)):
        raise DataError(f"expected a tuple (input, ..., target), got {type(sample).__name__}")
    if len(sample) < 2:
        raise DataError(f"expected (input, ..., target), got {len(sample)} field{'s' * (len(sample) != 1)}")
    arrays = []
    for position, value in enumerate(sample):
        try:
            arrays.append(convert(as_array(value), target=position == len(sample) - 1))
        except DataError as error:
            raise DataError(f"{field_name(position, len(sample))}: {error}") from None
    return tuple(arrays)


def check_fields(arrays: Sequence[np.ndarray], fields: Sequence[Field]) -> None:
    """Compare `arrays` with `fields`, the fields of sample 0. Raises DataError if number, shape or dtype differ."""
    if len(arrays) != len(fields):
        raise DataError(f"{len(arrays)} fields, but sample 0 has {len(fields)}")
    for position, (array, field) in enumerate(zip(arrays, fields, strict=True)):
        if field_of(array) != field:
            name = field_name(position, len(fields))
            raise DataError(f"{name}: {field_of(array)}, but sample 0 has {field}")
