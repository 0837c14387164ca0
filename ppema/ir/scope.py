"""Variables of a scope: read, write, copy and lend them by name. One module serves both versions of Paddle."""

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
# Paddle 3 renamed the class.
_Tensor = getattr(paddle.base.core, "DenseTensor", None) or paddle.base.core.LoDTensor
# Types that numpy and Paddle share by DLPack, without a copy. Other types have too little data to matter.
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
    """The tensor of variable `name`. Raises KeyError if the scope has no such variable, or an uninitialised one."""
    variable = scope.find_var(name)
    found = None if variable is None else variable.get_tensor()
    if found is None or not found._is_initialized():
        raise KeyError(name)
    return found


def missing(scope: Scope, names: Iterable[str]) -> list[str]:
    """The elements of `names` whose variables are absent from the scope, or uninitialised."""
    absent = []
    for name in names:
        variable = scope.find_var(name)
        if variable is None or not variable.get_tensor()._is_initialized():
            absent.append(name)
    return absent


def get(scope: Scope, name: str) -> np.ndarray:
    """A copy of the variable's value. Raises KeyError as `tensor` does."""
    return _array(tensor(scope, name))


def shared(scope: Scope, name: str) -> np.ndarray:
    """The variable's value, to be read before the next run: in the variable's own memory if numpy can share it, else a copy.

    Raises KeyError as `tensor` does.
    """
    found = tensor(scope, name)
    shares = _form(found)[1] in _SHARED_NAMES and not found._place().is_gpu_place()
    return np.from_dlpack(_DLPack(found)) if shares else _array(found)


def all_finite(scope: Scope, name: str) -> bool:
    """Whether all numbers of the floating-point variable are finite. Raises KeyError as `tensor` does."""
    return finite(shared(scope, name))


class Copier:
    """Copies variables of a scope into arrays many times. Each is looked up once, and each copy moves memory once."""

    def __init__(self, scope: Scope, targets: Mapping[str, np.ndarray]):
        """targets: arrays by variable's name, of its shape and type. Raises KeyError for a missing variable."""
        self._scope = scope  # keeps alive the variables of the handles below
        self._pairs = [(name, tensor(scope, name), target) for name, target in targets.items()]
        self._gpu = any(source._place().is_gpu_place() for _, source, _ in self._pairs)

    def copy(self) -> None:
        """Copy all variables. Raises ValueError for a variable whose shape or type has changed."""
        for name, source, target in self._pairs:
            shared = target.dtype in _SHARED and not self._gpu
            value = np.from_dlpack(_DLPack(source)) if shared else _array(source)
            # Paddle changes the shape of a learning rate from [] to [1] when it sets the rate.
            if value.size == 1 == target.size:
                value = value.reshape(target.shape)
            if value.shape != target.shape or value.dtype != target.dtype:
                _same(f"variable {name}", _form(source), "the array", (target.shape, target.dtype.name))
            np.copyto(target, value)


class _DLPack:
    """A tensor on the CPU that lets numpy share its memory by DLPack."""

    def __init__(self, source):
        self._source = source

    def __dlpack__(self, **_: object):
        return self._source._to_dlpack()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def dtype(scope: Scope, name: str) -> str:
    """numpy's name of the type of the variable's elements: "float32", "bfloat16". Raises KeyError as `tensor` does."""
    return _form(tensor(scope, name))[1]


def put(scope: Scope, values: Mapping[str, np.ndarray]) -> None:
    """Copy each array into the variable of its name: all of them, or none.

    Raises KeyError for a variable that the scope lacks, and ValueError for a shape or type that differs from the variable's.
    Paddle itself would accept both in silence and fail at the next run.
    """
    targets = {name: tensor(scope, name) for name in values}
    for name, target in targets.items():
        value = values[name]
        _same(f"variable {name}", _form(target), "the new value", (tuple(value.shape), value.dtype.name))
    for name, target in targets.items():
        _set(target, np.ascontiguousarray(values[name]).reshape(values[name].shape), _place(target))


def create(scope: Scope, name: str, value: np.ndarray) -> None:
    """Create a variable on the CPU with that name and value. An existing variable gets the value, shape and type."""
    _set(scope.var(name).get_tensor(), value, paddle.CPUPlace())


class Loan:
    """Lets the first variable of each pair share the second's memory between `start` and `stop`, any number of times.

    Nothing is copied. Meanwhile both names read and save the second's value, also in executors built before. `start` and `stop`
    look variables up by name, since Paddle frees them when a new executor runs a startup program, or when a user erases them.
    After an interrupt (Ctrl-C) at any point, `stop` can still restore the variables' own memory.
    """

    def __init__(self, scope: Scope, pairs: Iterable[tuple[str, str]]):
        self._scope = scope
        pairs = list(pairs)
        self._first, self._second = [first for first, _ in pairs], [second for _, second in pairs]
        self._own = {first: _Tensor() for first in self._first}  # own memory of the first variables since the last start
        self._lent = False  # whether a first variable may have memory other than its own
        self._local = False  # whether the scope itself, not a parent, held all first variables at the last start
        self._found: list[Any] = []  # tensors of the last start, whose types matched
        self._variables: list[Any] = []  # never read: a look-up is faster while Python holds an object for its result

    def start(self) -> None:
        """Lend the memory. Raises KeyError for a variable that the scope lacks, and ValueError for a different shape or type.

        Nothing has changed in either case.
        """
        names = [*self._first, *self._second]
        self._variables, found = _look_up(self._scope, names)
        borrowers, lenders = found[: len(self._first)], found[len(self._first) :]
        # A tensor object never changes its type, so known tensors need no check, which takes 0.25 ms for a ResNet-50.
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
        """Restore the first variables' own memory. A variable that was erased meanwhile is created again.

        An erased variable of a parent scope is not created: `stop` raises KeyError, changes nothing and can be called again.
        """
        if not self._lent:
            return
        if self._local:  # one call looks up and shares; for a parent's variable it would create a second one
            deque(map(paddle.base.core.set_variable, repeat(self._scope), self._own.values(), self._own), maxlen=0)
        else:
            _share(_look_up(self._scope, self._first)[1], self._own.values())
        self._lent = False

    def own(self, name: str) -> np.ndarray:
        """A copy of the own value of the first variable `name`. Raises KeyError for any other name, and if nothing is lent."""
        if not self._lent:
            raise KeyError(name)
        return _array(self._own[name])


class Copies:
    """Lets the first variable of each pair hold a copy of the second's value, in new memory, from `start` to `stop`.

    The copy of a float32 value for a half variable is rounded to nearest, ties to even. Use each object once. After an
    interrupt (Ctrl-C) at any point, `stop` can still restore the variables' own memory.
    """

    def __init__(self, scope: Scope, pairs: Iterable[tuple[str, str]]):
        self._scope = scope
        self._pairs = list(pairs)
        self._own: dict[str, Any] = {}  # own memory of the first variables, by name

    def start(self) -> None:
        """Put the copies in place. Raises KeyError and ValueError as `put` does, before any change."""
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
        """Restore the first variables' own memory. Raises KeyError for an erased variable, and can be called again."""
        _share(_look_up(self._scope, self._own)[1], self._own.values())

    def own(self, name: str) -> np.ndarray:
        """A copy of the own value of the first variable `name`. Raises KeyError for any other name."""
        return _array(self._own[name])


def _look_up(scope: Scope, names: Iterable[str]) -> tuple[list[Any], list[Any]]:
    """The variables `names` and their tensors, in two calls for all. Raises KeyError for an absent variable."""
    variables = list(map(scope.find_var, names))
    try:
        return variables, list(map(paddle.base.core.Variable.get_tensor, variables))
    except TypeError:  # `get_tensor` of None: a variable is absent
        raise KeyError(missing(scope, names)[0]) from None


def _is_local(scope: Scope, name: str) -> bool:
    """Whether variable `name` belongs to the scope itself and not to a parent, where `find_var` finds it too."""
    size = scope.size()
    scope.var(name)
    if scope.size() == size:
        return True
    scope.erase([name])
    return False


def _share(targets: Iterable[Any], sources: Iterable[Any]) -> None:
    """Let each target share the memory of its source, in one call that no interrupt can split."""
    deque(map(_Tensor._share_data_with, targets, sources), maxlen=0)


def _array(value) -> np.ndarray:
    """A copy of a tensor's value. Paddle returns bfloat16 as uint16 bits; no variable has the type uint16."""
    array = np.array(value)
    return array.view(bfloat16) if array.dtype == np.uint16 else array


def _set(target, value: np.ndarray, place) -> None:
    """Copy an array into a tensor, which gets its shape and type. Paddle takes bfloat16 as uint16 bits."""
    target.set(value.view(np.uint16) if value.dtype == bfloat16 else value, place)


def _place(value):
    """The place of a tensor, of the type that `set` requires."""
    place = value._place()
    return paddle.CUDAPlace(place.gpu_device_id()) if place.is_gpu_place() else paddle.CPUPlace()


def _form(value) -> tuple[tuple[int, ...], str]:
    return tuple(value.shape()), _DTYPES.get(value._dtype(), str(value._dtype()))


def _same(first: str, form: tuple[tuple[int, ...], str], second: str, other: tuple[tuple[int, ...], str]) -> None:
    if form != other:
        described = [f"{dtype} {list(shape)}" for shape, dtype in (form, other)]
        raise ValueError(f"{first} is {described[0]}, {second} is {described[1]}")
