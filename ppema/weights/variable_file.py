"""A reader, without Paddle, of files with one variable each, which Paddle's `save_vars` and `save_persistables` write.

The format is little-endian: a version (uint32, 0); the number of levels of detail (uint64), each with its size (uint64) and
content; again a version (uint32, 0); the size of a description (int32); the description, a protobuf of the type (field 1) and
the dimensions (field 2); the numbers.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from ppema.checkpoint.tensors import read_bytes
from ppema.errors import CheckpointError

# The dtype by its number in paddle/fluid/framework/framework.proto (VarType.Type).
_TYPES: dict[int, Any] = {0: "b1", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 20: "u1", 21: "i1", 22: bfloat16}
_MOST_DIMENSIONS = 32
_VARINT, _BYTES = 0, 2  # protobuf's wire types


def read_variable(file: Path) -> np.ndarray:
    """The array in `file`, read-only, with the shape and dtype in its description.

    Raises CheckpointError if the file is missing, damaged, or no file of one variable.
    """
    reader = _Reader(read_bytes(file))
    try:
        reader.expect(4, 0)
        for _ in range(reader.number(8)):
            reader.take(reader.number(8))
        reader.expect(4, 0)
        kind, shape = _described(_Reader(reader.take(reader.number(4))))
        dtype = np.dtype(kind)
        if prod(shape) * dtype.itemsize != reader.left:
            raise ValueError(f"shape {list(shape)} with {reader.left} bytes")
        return np.frombuffer(reader.take(reader.left), dtype).reshape(shape)
    except ValueError as error:
        raise CheckpointError(f"{file}: it is no file of one variable, or it is damaged: {error}") from error


class _Reader:
    """The bytes of a file, and the position of the next one. Every method raises ValueError if the bytes end too early."""

    def __init__(self, content: bytes):
        self._content = memoryview(content)
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._content) - self._position

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise ValueError(f"{size} bytes at byte {self._position}, and the file has {self.left}")
        self._position += size
        return bytes(self._content[self._position - size : self._position])

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def expect(self, size: int, value: int) -> None:
        found = self.number(size)
        if found != value:
            raise ValueError(f"a version {found}")

    def varint(self) -> int:
        """A varint of protobuf, at most 64 bits: seven bits per byte, the lowest first. The eighth bit: more bytes follow."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number of more than 64 bits")


def _described(reader: _Reader) -> tuple[Any, tuple[int, ...]]:
    """The argument for numpy's dtype of the variable, and its shape. Raises ValueError for an unknown description."""
    kind, shape = -1, []
    while reader.left:
        field, wire = divmod(reader.varint(), 8)
        if (field, wire) == (1, _VARINT):
            kind = reader.varint()
        elif (field, wire) == (2, _VARINT):
            shape.append(reader.varint())
        elif (field, wire) == (2, _BYTES):
            packed = _Reader(reader.take(reader.varint()))
            while packed.left:
                shape.append(packed.varint())
        else:
            raise ValueError(f"a description with field {field}")
    if kind not in _TYPES:
        raise ValueError(f"type {kind}")
    if len(shape) > _MOST_DIMENSIONS or any(size >= 2**63 for size in shape):
        raise ValueError(f"{len(shape)} dimensions, the largest {max(shape)}")
    return _TYPES[kind], tuple(shape)
