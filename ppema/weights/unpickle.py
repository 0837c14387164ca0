"""A safe reader of pickled arrays: Python's unpickler with some forty opcodes, and a checked constructor for each name.

The base is `pickle._Unpickler`, written in Python, because single opcodes can be replaced in it. Its memo is a dict, where a
huge index allocates nothing. `pickle.Unpickler`, written in C, does not suffice: it hashes the keys of a mapping before any
check, and a key of 500,000 nested tuples overflows the stack and ends the process.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from functools import partial
from itertools import islice
from math import prod
from typing import Any, ClassVar

import numpy as np

from ppema.errors import printable

_ADMITTED = (
    "PROTO FRAME STOP NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8 MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS "
    "APPEND APPENDS BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD"
)
_OPCODES = frozenset(_ADMITTED.split())
_MOST_OPCODES = 1_000_000  # a state dict has about 25 per array
_TYPES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"})
_MOST_DIMENSIONS = 32


class RefusedError(ValueError):
    """A pickle that is damaged, or that holds more than arrays."""


def read_pickle(content: bytes) -> Any:
    """The value in the pickle `content`: mappings, lists, tuples, numbers, text, bytes, None, and numpy arrays of numbers.

    An array is the value itself or an item of the outermost mapping, also as Paddle's (name, array); deeper arrays are
    refused. Arrays are read-only. Nothing that the file names is imported or called. Raises RefusedError with one line.
    """
    try:
        # genops finds a length beyond the end of the content before anything of that size is allocated.
        count = sum(1 for _ in islice(pickletools.genops(content), _MOST_OPCODES + 1))
    except ValueError as error:
        raise RefusedError(f"damaged: {' '.join(str(error).split())[:120]}") from error
    if count > _MOST_OPCODES:
        raise RefusedError(f"it has more than {_MOST_OPCODES:,} opcodes, more than any file of weights")
    unpickler = _Unpickler(content)
    try:
        value = unpickler.load()
        if unpickler.stack or unpickler.metastack:
            raise ValueError("something is left over")
        return {key: _finished(each) for key, each in value.items()} if type(value) is dict else _finished(value)
    except RefusedError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, EOFError, pickle.PickleError) as error:
        raise RefusedError("damaged: its opcodes do not fit together") from error


def _refuse(opcode: str, unpickler: Any) -> None:
    raise RefusedError(f"it holds the opcode {opcode}, and only arrays are admitted")


class _New:
    """A dtype, or an array if `dtype` is None. numpy pickles both as a constructor without state, and BUILD sets the state."""

    def __init__(self, dtype: np.dtype | None = None):
        self.dtype = dtype
        self.array: np.ndarray | None = None


class _Unpickler(pickle._Unpickler):
    """An unpickler that calls only the functions in `_CALLS`, changes only a `_New`, and checks a key before hashing it."""

    stack: Any
    metastack: Any
    pop_mark: Any

    def __init__(self, content: bytes):
        super().__init__(io.BytesIO(content))
        # An array takes its size as bytes, and again in this machine's byte order. A memo could repeat both a million times.
        self._left = 2 * len(content)

    def find_class(self, module: str, name: str) -> Any:
        calls = {**_CALLS, "_codecs.encode": self._encode}
        if f"{module}.{name}" not in calls:
            raise RefusedError(f"it would call '{printable(f'{module}.{name}')}', and only arrays are admitted")
        return calls[f"{module}.{name}"]

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise RefusedError("its arrays would take more memory than the file has bytes")

    def _encode(self, text: str, encoding: str) -> bytes:
        """The bytes that protocol 2 encodes as text, one character per byte."""
        if encoding != "latin1":
            raise ValueError(encoding)
        self._spend(len(text))
        return str.encode(text, encoding)

    def _build(self) -> None:
        state, new = self.stack.pop(), self.stack[-1]
        if type(new) is not _New or new.array is not None or type(state) is not tuple:
            raise ValueError("a change of what is not new")
        if new.dtype is None:
            new.array = self._array(*state)
            return
        if state[2:5] != (None, None, None):
            raise ValueError("a dtype of several fields")
        new.dtype = new.dtype.newbyteorder(state[1])

    def _array(self, version: int, shape: tuple[int, ...], new: _New, columns_first: bool, data: bytes) -> np.ndarray:
        if [type(each) for each in (shape, new, columns_first, data)] != [tuple, _New, bool, bytes] or new.dtype is None:
            raise ValueError("an array of something else than the bytes of numbers")
        if len(shape) > _MOST_DIMENSIONS or not all(type(size) is int and 0 <= size < 2**63 for size in shape):
            raise ValueError("a shape that can not be")
        if prod(shape) * new.dtype.itemsize != len(data):
            raise RefusedError(f"damaged: an array of shape {list(shape)} with {len(data)} bytes")
        self._spend(len(data))
        array = np.frombuffer(data, new.dtype).reshape(shape, order="F" if columns_first else "C")
        return array.astype(new.dtype.newbyteorder("="), copy=False)

    def _set_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or not {type(key) for key in items[::2]} <= {str, int}:
            raise ValueError("items for what is no mapping, or with keys that are no text")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        **{ord(each.code): partial(_refuse, each.name) for each in pickletools.opcodes if each.name not in _OPCODES},
        pickle.BUILD[0]: _build,
        pickle.SETITEM[0]: lambda self: self._set_items([self.stack.pop(-2), self.stack.pop()]),
        pickle.SETITEMS[0]: lambda self: self._set_items(self.pop_mark()),
    }


def _dtype(letters: str, align: bool, copy: bool) -> _New:
    if type(letters) is not str:
        raise ValueError("a dtype of something else than letters")
    if letters not in _TYPES:
        raise RefusedError(f"it holds an array of type '{printable(letters)}', and only numbers are admitted")
    return _New(np.dtype(letters))


def _tuple(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The constructor of tuple((name, array)): Paddle's form of a tensor outside of a state dict."""
    if type(values) is not tuple:
        raise ValueError("a tuple of something else")
    return values


_CALLS = {
    **{f"numpy.{core}.multiarray._reconstruct": lambda kind, shape, letter: _New() for core in ("core", "_core")},
    "numpy.ndarray": None,  # the argument `kind` of _reconstruct, never called
    "numpy.dtype": _dtype,
    "collections.OrderedDict": lambda: {},  # noqa: PIE807 - `dict` would take arguments
    **{f"{home}.bytes": lambda: b"" for home in ("builtins", "__builtin__")},
    **{f"{home}.tuple": _tuple for home in ("builtins", "__builtin__")},
}


def _finished(value: Any) -> Any:
    """`value`; its array if it is a `_New` or Paddle's (name, array). Raises ValueError for an array without data."""
    if type(value) is tuple and [type(each) for each in value] == [str, _New]:
        value = value[1]
    if type(value) is _New and value.array is None:
        raise ValueError("an array that is never filled")
    return value.array if type(value) is _New else value
