"""Pickles of arrays, read without running what they ask for: a machine of its own that knows some forty opcodes and the few
calls by which numpy arrays are written.

Python's unpickler calls whatever a file names, and trusts its numbers: an index of its memo makes it allocate that much. Here
nothing is looked up or called, the memo is a dict, and all arrays together may hold no more bytes than the file.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Sequence
from typing import Any

from ppema.errors import printable
from ppema.weights.pickled_arrays import ARRAY_CLASSES, CALLS, Budget, Global, NewArray, RefusedError, fill, kind_of

# A state dict takes some 25 opcodes an array; more than this only costs time and memory.
_MOST_OPCODES = 1_000_000


def read_pickle(content: bytes) -> Any:
    """What the pickle `content` holds: mappings, lists, tuples, numbers, text, bytes, None, and numpy arrays of numbers.

    Arrays stand in their place where they are all there is, and in a mapping, also as Paddle's (name, array); not further
    inside. They can not be written to. Raises RefusedError, in one line.
    """
    machine = _Machine(len(content))
    try:
        for index, (opcode, argument, position) in enumerate(pickletools.genops(content)):
            if index == _MOST_OPCODES:
                raise RefusedError(f"it has more than {_MOST_OPCODES:,} opcodes, and no file of weights has")
            if opcode.name not in _STEPS:
                named = f" ('{printable(str(argument))}')" if opcode.name == "INST" else ""
                raise RefusedError(f"it holds the opcode {opcode.name}{named} at byte {position}, and only arrays are admitted")
            _STEPS[opcode.name](machine, argument)
        return machine.result()
    except RefusedError:
        raise
    except (ValueError, IndexError, KeyError, TypeError) as error:
        # What genops finds, a stack or memo that lacks what is taken from it, and a value where another kind belongs.
        raise RefusedError(f"damaged: {' '.join(str(error).split())[:120]}") from error


_MARK = object()


class _Machine:
    """The stack and the memo of a pickle, and the bytes that may still be made."""

    def __init__(self, size: int):
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self.budget = Budget(size)

    def result(self) -> Any:
        value = self.pop()
        if self.stack:
            raise RefusedError("damaged: something is left over")
        return _finished(value)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise RefusedError("damaged: a mark where a value belongs")
        return value

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise RefusedError(f"damaged: items for what is no {kind.__name__}")
        return value

    def pop_marked(self) -> list[Any]:
        """What was pushed since the last mark."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def pop_some(self, count: int) -> tuple[Any, ...]:
        return tuple(self.pop() for _ in range(count))[::-1]

    def memoize(self, index: int | None = None) -> None:
        value = self.pop()
        self.push(value)
        self._memo[len(self._memo) if index is None else index] = value

    def recall(self, index: int) -> None:
        self.push(self._memo[index])


def _set_items(machine: _Machine, pairs: Sequence[Any]) -> None:
    target = machine.top(dict)
    keys, values = pairs[::2], pairs[1::2]
    for key, value in zip(keys, values, strict=True):
        if type(key) not in (str, int):
            raise RefusedError(f"damaged: a {kind_of(key)} as the key of a mapping")
        target[key] = value


def _extend(machine: _Machine, values: Sequence[Any]) -> None:
    machine.top(list).extend(values)


def _look_up(machine: _Machine, name: str) -> None:
    if name not in CALLS and name not in ARRAY_CLASSES:
        raise RefusedError(f"it would call '{printable(name)}', and only arrays are admitted")
    machine.push(Global(name))


def _stack_global(machine: _Machine) -> None:
    module, name = machine.pop_some(2)
    if type(module) is not str or type(name) is not str:
        raise RefusedError("damaged: a global whose name is no text")
    _look_up(machine, f"{module}.{name}")


def _reduce(machine: _Machine) -> None:
    function, arguments = machine.pop_some(2)
    if type(function) is not Global or function.name not in CALLS:
        what = function.name if type(function) is Global else f"a {kind_of(function)}"
        raise RefusedError(f"it would call '{printable(what)}', and only arrays are admitted")
    if type(arguments) is not tuple:
        raise RefusedError(f"damaged: {function.name} without its arguments")
    machine.push(CALLS[function.name](machine.budget, arguments))


def _build(machine: _Machine) -> None:
    state = machine.pop()
    fill(machine.stack[-1], state, machine.budget)


def _nothing(machine: _Machine, argument: Any) -> None:
    pass


def _push(machine: _Machine, argument: Any) -> None:
    machine.push(argument)


def _made(make: Callable[[_Machine], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(make(machine))


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _push),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _push),
    "NONE": _made(lambda machine: None),
    "NEWTRUE": _made(lambda machine: True),
    "NEWFALSE": _made(lambda machine: False),
    "MARK": _made(lambda machine: _MARK),
    "EMPTY_DICT": _made(lambda machine: {}),
    "EMPTY_LIST": _made(lambda machine: []),
    "EMPTY_TUPLE": _made(lambda machine: ()),
    "TUPLE": _made(lambda machine: tuple(machine.pop_marked())),
    "TUPLE1": _made(lambda machine: machine.pop_some(1)),
    "TUPLE2": _made(lambda machine: machine.pop_some(2)),
    "TUPLE3": _made(lambda machine: machine.pop_some(3)),
    "SETITEM": lambda machine, _: _set_items(machine, machine.pop_some(2)),
    "SETITEMS": lambda machine, _: _set_items(machine, machine.pop_marked()),
    "APPEND": lambda machine, _: _extend(machine, machine.pop_some(1)),
    "APPENDS": lambda machine, _: _extend(machine, machine.pop_marked()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda machine, index: machine.memoize(index)),
    "MEMOIZE": lambda machine, _: machine.memoize(),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, index: machine.recall(index)),
    # genops gives module and name with a space between.
    "GLOBAL": lambda machine, argument: _look_up(machine, argument.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda machine, _: _stack_global(machine),
    "REDUCE": lambda machine, _: _reduce(machine),
    "BUILD": lambda machine, _: _build(machine),
}


def _finished(value: Any) -> Any:
    """`value` with its arrays in place of what they were made from."""
    if type(value) is dict:
        return {key: _array(each) for key, each in value.items()}
    return _array(value)


def _array(value: Any) -> Any:
    if type(value) is tuple and [type(each) for each in value] == [str, NewArray]:
        value = value[1]
    if type(value) is not NewArray:
        return value
    if value.value is None:
        raise RefusedError("damaged: an array that is never filled")
    return value.value
