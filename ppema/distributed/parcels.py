"""Facts and arrays as bytes, for other ranks. Nothing is pickled: Paddle's store, through which ranks meet, has no password."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import ml_dtypes  # noqa: F401  (numpy then knows bfloat16 by its name)
import numpy as np

_ALIGNED = 8  # bytes


def packed(facts: Any, arrays: Sequence[np.ndarray] = ()) -> bytes:
    """`facts`, values of JSON, which may hold NaN and infinities, and `arrays` of numbers, with their bits."""
    forms = [(type_name(each.dtype), each.shape) for each in arrays]
    head = json.dumps([facts, forms]).encode()
    return b"".join([len(head).to_bytes(_ALIGNED, "little"), *(part for each in (head, *arrays) for part in _padded(each))])


def unpacked(data: bytes) -> tuple[Any, list[np.ndarray]]:
    """The facts and arrays of `packed`. The arrays are read-only."""
    begin = _ALIGNED + int.from_bytes(data[:_ALIGNED], "little")
    facts, forms = json.loads(data[_ALIGNED:begin])
    arrays = []
    for name, shape in forms:
        begin += -begin % _ALIGNED
        count, dtype = int(np.prod(shape, dtype=np.int64)), np.dtype(name)
        arrays.append(np.frombuffer(data, dtype, count, begin).reshape(shape) if count else np.empty(shape, dtype))
        begin += count * dtype.itemsize
    return facts, arrays


def type_name(dtype: np.dtype) -> str:
    """A name of a type of numbers, of which `np.dtype` makes the same one. Raises TypeError for Python objects."""
    if dtype.hasobject:
        raise TypeError("Python objects are not sent to other ranks")
    return dtype.name if dtype.kind == "V" else dtype.str  # ml_dtypes.bfloat16 is a V2


def _padded(content: bytes | np.ndarray) -> Iterator[bytes]:
    data = content if isinstance(content, bytes) else content.tobytes()
    yield data
    yield bytes(-len(data) % _ALIGNED)
