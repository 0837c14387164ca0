"""The calls by which numpy arrays are written into pickles, done here on checked arguments and without numpy's own part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ppema.errors import printable

_MOST_DIMENSIONS = 32
# Kind and bytes of an element, as numpy's dtype is called with them.
_TYPES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"})


class RefusedError(ValueError):
    """A pickle that is damaged, or that asks for more than arrays."""


@dataclass(frozen=True)
class Global:
    """A name that the pickle wants looked up."""

    name: str


@dataclass
class ArrayType:
    """A numpy dtype in the making: its letters ("f4"), and the byte order that a later opcode tells."""

    letters: str
    order: str = "="


@dataclass
class NewArray:
    """An array in the making: a later opcode tells what is in it."""

    value: np.ndarray | None = None


class Budget:
    """How many bytes may still be made: of each kind as many as the file has, which the arrays in it never exceed.

    A memo lets a small file name the same bytes a million times.
    """

    def __init__(self, size: int):
        self._left = {"arrays": size, "bytes": size}

    def spend(self, what: str, size: int) -> None:
        """Raises RefusedError where that is too much."""
        self._left[what] -= size
        if self._left[what] < 0:
            raise RefusedError(f"its {what} would take more memory than the file has bytes")


def fill(target: Any, state: Any, budget: Budget) -> None:
    """Give a type its byte order, and an array what is in it. Raises RefusedError for anything else."""
    if type(target) is ArrayType:
        target.order = _byte_order(state)
    elif type(target) is NewArray and target.value is None:
        target.value = _filled(budget, state)
    else:
        raise RefusedError(f"it would change what is no new array but of type '{kind_of(target)}'")


def _reconstruct(budget: Budget, arguments: tuple[Any, ...]) -> NewArray:
    """numpy's (class, shape, type) of the empty array that is filled later."""
    kind, shape, letter = arguments if len(arguments) == 3 else (None, None, None)
    if type(kind) is not Global or kind.name not in ARRAY_CLASSES or shape != (0,) or letter != b"b":
        raise RefusedError("damaged: an array that does not begin as numpy's do")
    return NewArray()


def _dtype(budget: Budget, arguments: tuple[Any, ...]) -> ArrayType:
    """numpy's (letters, align, copy)."""
    letters = arguments[0] if len(arguments) == 3 else None
    if type(letters) is not str or letters not in _TYPES:
        what = printable(letters) if type(letters) is str else kind_of(letters)
        raise RefusedError(f"it holds an array of type '{what}', and only numbers are admitted")
    return ArrayType(letters)


def _byte_order(state: Any) -> str:
    """That of the state of a dtype, which for a number says nothing else: (version, order, no subtype, no fields, ...)."""
    order = state[1] if type(state) is tuple and len(state) in (8, 9) else None
    if order not in ("<", ">", "=", "|") or any(each is not None for each in state[2:5]):
        raise RefusedError("damaged: a type that is not that of numbers")
    return order


def _filled(budget: Budget, state: Any) -> np.ndarray:
    """The array of a state: (version, shape, type, whether columns come first, bytes)."""
    if type(state) is not tuple or len(state) != 5 or [type(each) for each in state[1:]] != [tuple, ArrayType, bool, bytes]:
        raise RefusedError("damaged: an array that holds something else than the bytes of numbers")
    _, shape, kind, columns_first, data = state
    if len(shape) > _MOST_DIMENSIONS or not all(type(size) is int and 0 <= size < 2**63 for size in shape):
        raise RefusedError("damaged: an array of a shape that can not be")
    dtype = np.dtype(kind.letters).newbyteorder(kind.order)
    if prod(shape) * dtype.itemsize != len(data):
        raise RefusedError(f"damaged: an array of shape {list(shape)} with {len(data)} bytes")
    budget.spend("arrays", len(data))
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if columns_first else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _encode(budget: Budget, arguments: tuple[Any, ...]) -> bytes:
    """Protocol 2 has no bytes, and writes them as text of as many characters."""
    if [type(each) for each in arguments] != [str, str] or arguments[1] != "latin1":
        raise RefusedError("damaged: text that is not the bytes of an array")
    budget.spend("bytes", len(arguments[0]))
    return arguments[0].encode("latin1")


def _empty(kind: type) -> Callable[[Budget, tuple[Any, ...]], Any]:
    def make(budget: Budget, arguments: tuple[Any, ...]) -> Any:
        if arguments:
            raise RefusedError("damaged: arguments where an empty value is made")
        return kind()

    return make


def _tuple(budget: Budget, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Paddle writes a tensor outside of a state dict as tuple((name, array))."""
    if len(arguments) != 1 or type(arguments[0]) is not tuple:
        raise RefusedError("damaged: a tuple of something else")
    return arguments[0]


ARRAY_CLASSES = frozenset({"numpy.ndarray"})
CALLS: dict[str, Callable[[Budget, tuple[Any, ...]], Any]] = {
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "collections.OrderedDict": _empty(dict),
    **{f"{home}.bytes": _empty(bytes) for home in ("builtins", "__builtin__")},
    **{f"{home}.tuple": _tuple for home in ("builtins", "__builtin__")},
}


def kind_of(value: Any) -> str:
    return {NewArray: "array", ArrayType: "type", Global: "function"}.get(type(value), type(value).__name__)
