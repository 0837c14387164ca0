"""The fields of a sample, and the fixed rules that convert them to arrays of float32 or int64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppema.errors import DataError, listed, printable
from ppema.user_code.names import did_you_mean


@dataclass(frozen=True)
class Field:
    """One named part of every sample.

    shape: without the batch axis; dtype: "float32" or "int64"; is_target: whether losses and metrics receive it, not the model.
    """

    shape: tuple[int, ...]
    dtype: str
    name: str
    is_target: bool = False

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class FieldNames:
    """The names of a sample's fields, in the order of its arrays: inputs first, then targets. Names are unique."""

    inputs: tuple[str, ...]
    targets: tuple[str, ...]

    @classmethod
    def counted(cls, count: int) -> FieldNames:
        """The names of `count` ≥ 2 fields without names: "input_0", "input_1", ..., and "target" for the last."""
        return cls(tuple(f"input_{position}" for position in range(count - 1)), ("target",))

    @property
    def all(self) -> tuple[str, ...]:
        """All names, in the order of a sample's arrays."""
        return (*self.inputs, *self.targets)

    def fields(self, arrays: Sequence[np.ndarray], *, batch_axes: int = 0) -> tuple[Field, ...]:
        """The Field of each of `arrays`, whose first `batch_axes` axes count samples."""
        return tuple(
            Field(array.shape[batch_axes:], array.dtype.name, name, position >= len(self.inputs))
            for position, (name, array) in enumerate(zip(self.all, arrays, strict=True))
        )

    def convert(self, values: Sequence[Any], *, batch_axes: int = 0) -> tuple[np.ndarray, ...]:
        """Convert each of `values` by `as_array` and `convert`. Raises DataError, which names the field."""
        arrays = []
        for position, (name, value) in enumerate(zip(self.all, values, strict=True)):
            try:
                arrays.append(convert(as_array(value), target=position >= len(self.inputs), batch_axes=batch_axes))
            except DataError as error:
                raise DataError(f"{name}: {error}") from None
        return tuple(arrays)


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


def to_fields(sample: Any, names: FieldNames | None = None) -> tuple[np.ndarray, ...]:
    """Convert the fields of `sample` by the rules of `as_array` and `convert`.

    sample: a tuple or list in the order of `names`, or a mapping by name, whose other entries are ignored. Without `names`: a
    tuple or list (input, ..., target).

    Returns arrays of float32 or int64 in the order of `names`. Raises DataError, which names the field.
    """
    values = _unnamed(sample) if names is None else _named(sample, names)
    return (names or FieldNames.counted(len(values))).convert(values)


def _unnamed(sample: Any) -> Sequence[Any]:
    if isinstance(sample, Mapping):
        found = [printable(str(name)) for name in sample]
        *inputs, target = found if len(found) > 1 else ["tokens", "label"]
        example = f"data: {{inputs: [{', '.join(inputs)}], targets: [{target}]}}"
        raise DataError(f"a mapping of {', '.join(found) or 'nothing'}: name the fields in the config, as in {example}")
    if not isinstance(sample, (tuple, list)):
        raise DataError(f"expected a tuple (input, ..., target), got {type(sample).__name__}")
    if len(sample) < 2:
        raise DataError(f"expected (input, ..., target), got {len(sample)} field{'s' * (len(sample) != 1)}")
    return sample


def _named(sample: Any, names: FieldNames) -> Sequence[Any]:
    if isinstance(sample, Mapping):
        for name in names.all:
            if name not in sample:
                found = [printable(str(each)) for each in sample]
                meant = did_you_mean(name, found) or f"; it has {listed(found, most=20) or 'nothing'}"
                raise DataError(f"no field {name!r}{meant}")
        return [sample[name] for name in names.all]
    expected = ", ".join(names.all)
    if not isinstance(sample, (tuple, list)):
        raise DataError(f"expected a mapping or a tuple of {expected}, got {type(sample).__name__}")
    if len(sample) != len(names.all):
        raise DataError(f"expected {len(names.all)} fields, {expected}, got {len(sample)}")
    return sample


def check_fields(arrays: Sequence[np.ndarray], fields: Sequence[Field]) -> None:
    """Compare `arrays` with `fields`, the fields of sample 0. Raises DataError if number, shape or dtype differ."""
    if len(arrays) != len(fields):
        raise DataError(f"{len(arrays)} fields, but sample 0 has {len(fields)}")
    for array, field in zip(arrays, fields, strict=True):
        if (array.shape, array.dtype.name) != (field.shape, field.dtype):
            raise DataError(f"{field.name}: {array.dtype.name} {list(array.shape)}, but sample 0 has {field}")
