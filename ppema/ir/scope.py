"""Variables of a scope: read, write and lend them by name. A scope knows nothing of programs, so this is one file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import repeat
from operator import is_
from typing import Any

import numpy as np
import paddle
from ml_dtypes import bfloat16

from ppema.averaging.precision import HALF_TYPES, finite, rounded

Scope = Any  # paddle.static.Scope
# The class was renamed between Paddle 2 and 3.
_Tensor = getattr(paddle.base.core, "DenseTensor", None) or paddle.base.core.LoDTensor
# Types that numpy and Paddle both know by DLPack, and of which there is enough to copy.
_SHARED = (np.float32, np.float64, np.float16)
_SHARED_NAMES = tuple(each.__name__ for each in _SHARED)
_TYPE = paddle.base.core.VarDesc.VarType
_DTYPES = {
    _TYPE.FP16: "float16",
    _TYPE.BF16: "bfloat16",
    _TYPE.FP32: "float32",
    _TYPE.FP64: "float64",
    _TYPE.INT32: "int32",
    _TYPE.INT64: "int64",
    _TYPE.UINT8: "uint8",
    _TYPE.BOOL: "bool",
}


def tensor(scope: Scope, name: str):
    """The tensor of variable `name`. Raises KeyError where the scope has no such variable, or it was never filled."""
    variable = scope.find_var(name)
    found = None if variable is None else variable.get_tensor()
    if found is None or not found._is_initialized():
        raise KeyError(name)
    return found


def missing(scope: Scope, names: Iterable[str]) -> list[str]:
    """Those of `names` that the scope does not hold, or holds unfilled."""
    absent = []
    for name in names:
        variable = scope.find_var(name)
        if variable is None or not variable.get_tensor()._is_initialized():
            absent.append(name)
    return absent


def get(scope: Scope, name: str) -> np.ndarray:
    """A copy of the variable's value. Raises KeyError where there is none."""
    return _array(tensor(scope, name))


def all_finite(scope: Scope, name: str) -> bool:
    """Whether no number of the floating-point variable is NaN or infinite. Raises KeyError where there is none."""
    found = tensor(scope, name)
    shared = _form(found)[1] in _SHARED_NAMES and not found._place().is_gpu_place()
    return finite(np.from_dlpack(_DLPack(found)) if shared else _array(found))


class Copier:
    """Copies variables of a scope into arrays, again and again, with one copy of memory and one look-up for all times."""

    def __init__(self, scope: Scope, targets: Mapping[str, np.ndarray]):
        """targets: by variable's name, of its shape and type. Raises KeyError for a missing variable."""
        self._scope = scope  # whose variables the handles below belong to
        self._pairs = [(name, tensor(scope, name), target) for name, target in targets.items()]
        self._gpu = any(source._place().is_gpu_place() for _, source, _ in self._pairs)

    def copy(self) -> None:
        """Raises ValueError for a variable that has another shape or type by now."""
        for name, source, target in self._pairs:
            shared = target.dtype in _SHARED and not self._gpu
            value = np.from_dlpack(_DLPack(source)) if shared else _array(source)
            # Paddle makes a learning rate of shape [] one of shape [1] when it sets it.
            if value.size == 1 == target.size:
                value = value.reshape(target.shape)
            if value.shape != target.shape or value.dtype != target.dtype:
                _same(f"variable {name}", _form(source), "the array", (target.shape, target.dtype.name))
            np.copyto(target, value)


class _DLPack:
    """A tensor on the CPU, as numpy asks for memory to share."""

    def __init__(self, source):
        self._source = source

    def __dlpack__(self, **_: object):
        return self._source._to_dlpack()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def dtype(scope: Scope, name: str) -> str:
    """The type of the variable's elements: "float32", "bfloat16". Raises KeyError where there is none."""
    return _form(tensor(scope, name))[1]


def put(scope: Scope, values: Mapping[str, np.ndarray]) -> None:
    """Copy each array into the variable of its name: all of them, or none.

    Raises KeyError for a variable that the scope lacks and ValueError for another shape or type than the variable's;
    Paddle itself would accept both in silence and fail at the next run.
    """
    targets = {name: tensor(scope, name) for name in values}
    for name, target in targets.items():
        value = values[name]
        _same(f"variable {name}", _form(target), "the new value", (tuple(value.shape), value.dtype.name))
    for name, target in targets.items():
        _set(target, np.ascontiguousarray(values[name]).reshape(values[name].shape), _place(target))


def create(scope: Scope, name: str, value: np.ndarray) -> None:
    """Give the scope a variable of that name and value, on the CPU; one that it has gets the value, shape and type."""
    _set(scope.var(name).get_tensor(), value, paddle.CPUPlace())


class Loan:
    """Lets the first variable of each pair share the memory of the second for a while, without copying, again and again.

    Meanwhile both names read, and save, the second's value. Executors built before see it. Variables are looked up by name at
    every turn: Paddle frees them when a new executor runs a startup program again, or when a user erases them.
    An interrupt (Ctrl-C) at any point leaves `stop` able to give the own memory back.
    """

    def __init__(self, scope: Scope, pairs: Iterable[tuple[str, str]]):
        self._scope = scope
        pairs = list(pairs)
        self._first, self._second = [first for first, _ in pairs], [second for _, second in pairs]
        self._own = {first: _Tensor() for first in self._first}  # the first ones' memory since the last start
        self._lent = False  # whether the first ones may have other memory than their own
        self._local = False  # whether the scope itself, not a parent of it, held the first ones at the last start
        self._found: list[Any] = []  # tensors at the last start, whose types were equal
        self._variables: list[Any] = []  # never used: a look-up is faster while Python has an object for what it finds

    def start(self) -> None:
        """Raises KeyError for a variable that the scope lacks, and ValueError where two differ in shape or type.

        It has then touched nothing.
        """
        names = [*self._first, *self._second]
        self._variables, found = _look_up(self._scope, names)
        borrowers, lenders = found[: len(self._first)], found[len(self._first) :]
        # A type changes with the tensor only; comparing the types of a ResNet-50 would cost a quarter of a millisecond.
        known = len(found) == len(self._found) and all(map(is_, found, self._found))
        if not known:
            absent = missing(self._scope, names)
            if absent:
                raise KeyError(absent[0])
        if not known or list(map(_Tensor.shape, borrowers)) != list(map(_Tensor.shape, lenders)):
            for first, a, second, b in zip(self._first, borrowers, self._second, lenders, strict=True):
                _same(first, _form(a), second, _form(b))
        if not known:
            self._local = all(_is_local(self._scope, first) for first in self._first)
        self._found = found
        _share(self._own.values(), borrowers)
        self._lent = True
        _share(borrowers, lenders)

    def stop(self) -> None:
        """Give the first variables their own memory back, where they lack it; one that was erased meanwhile is made anew.

        A variable of a parent scope is not: KeyError is raised for it, before touching any, and `stop` can be called again.
        """
        if not self._lent:
            return
        if self._local:  # looks up and shares in one call, but would make a second variable beside a parent's
            deque(map(paddle.base.core.set_variable, repeat(self._scope), self._own.values(), self._own), maxlen=0)
        else:
            _share(_look_up(self._scope, self._first)[1], self._own.values())
        self._lent = False

    def own(self, name: str) -> np.ndarray:
        """A copy of the own value of the first variable `name`. Raises KeyError for another one, and where nothing is lent."""
        if not self._lent:
            raise KeyError(name)
        return _array(self._own[name])


class Copies:
    """Lets the first variable of each pair hold a copy of the second's value, in new memory, from `start` to `stop`, once.

    Where a float32 value goes into a half type, its copy is rounded to nearest, ties to even. An interrupt is as for `Loan`.
    """

    def __init__(self, scope: Scope, pairs: Iterable[tuple[str, str]]):
        self._scope = scope
        self._pairs = list(pairs)
        self._own: dict[str, Any] = {}  # the first ones' memory, by name

    def start(self) -> None:
        """Raises KeyError and ValueError as `put` does, before anything is touched."""
        firsts, copies, own = [], [], {}
        for first, second in self._pairs:
            a, b = tensor(self._scope, first), tensor(self._scope, second)
            (shape, ours), (other, theirs) = _form(a), _form(b)
            halved = theirs == "float32" and ours in HALF_TYPES
            _same(first, (shape, ours), second, (other, ours if halved else theirs))
            copy = _Tensor()
            _set(copy, rounded(_array(b), ours) if halved else _array(b), _place(b))
            own[first] = _Tensor()
            own[first]._share_data_with(a)
            firsts.append(a)
            copies.append(copy)
        self._own = own
        _share(firsts, copies)

    def stop(self) -> None:
        """Give the first variables their own memory back. Raises KeyError as `Loan.stop` does, and can be called again."""
        _share(_look_up(self._scope, self._own)[1], self._own.values())

    def own(self, name: str) -> np.ndarray:
        """A copy of the own value of the first variable `name`. Raises KeyError for another variable."""
        return _array(self._own[name])


def _look_up(scope: Scope, names: Iterable[str]) -> tuple[list[Any], list[Any]]:
    """The variables `names` and their tensors, as fast as can be. Raises KeyError for one that is not there."""
    variables = list(map(scope.find_var, names))
    try:
        return variables, list(map(paddle.base.core.Variable.get_tensor, variables))
    except TypeError:  # of None, which is no variable
        raise KeyError(missing(scope, names)[0]) from None


def _is_local(scope: Scope, name: str) -> bool:
    """Whether variable `name` belongs to the scope itself; a parent's is found in it too."""
    size = scope.size()
    scope.var(name)
    if scope.size() == size:
        return True
    scope.erase([name])
    return False


def _share(targets: Iterable[Any], sources: Iterable[Any]) -> None:
    """Let each target have the memory of its source: all of them, as no interrupt comes between."""
    deque(map(_Tensor._share_data_with, targets, sources), maxlen=0)


def _array(value) -> np.ndarray:
    """A copy of a tensor's value. Paddle gives bfloat16 as its bits, uint16, a type that no variable has."""
    array = np.array(value)
    return array.view(bfloat16) if array.dtype == np.uint16 else array


def _set(target, value: np.ndarray, place) -> None:
    """Copy an array into a tensor, which gets its shape and type. Paddle takes bfloat16 as its bits."""
    target.set(value.view(np.uint16) if value.dtype == bfloat16 else value, place)


def _place(value):
    """Where a tensor lies, as the typed place that `set` wants."""
    place = value._place()
    return paddle.CUDAPlace(place.gpu_device_id()) if place.is_gpu_place() else paddle.CPUPlace()


def _form(value) -> tuple[tuple[int, ...], str]:
    return tuple(value.shape()), _DTYPES.get(value._dtype(), str(value._dtype()))


def _same(first: str, form: tuple[tuple[int, ...], str], second: str, other: tuple[tuple[int, ...], str]) -> None:
    if form != other:
        described = [f"{dtype} {list(shape)}" for shape, dtype in (form, other)]
        raise ValueError(f"{first} is {described[0]}, {second} is {described[1]}")
