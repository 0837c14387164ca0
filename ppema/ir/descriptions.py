"""The description of one operation of a Paddle 2.6 program: its nested blocks, and the variables it writes and trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import paddle

from ppema.ir.base import Program, dtype_name
from ppema.ir.kinds import statistics_stand_still, user_frame

_KINDS = paddle.base.core.VarDesc.VarType
# The kinds of variables that have a type of elements.
_TENSORS = (_KINDS.LOD_TENSOR, _KINDS.SELECTED_ROWS)


def walk(program: Program, block: Any, depth: int = 0) -> Iterator[tuple[Any, int]]:
    """The operations of `block` in order, with their depth. Operations of nested blocks follow the one that holds them."""
    for op in block.ops:
        yield op, depth
        for index in _inner_blocks(op):
            yield from walk(program, program.block(index), depth + 1)


def writes(op: Any, state: set[str]) -> tuple[str, ...]:
    """The names of the variables in `state` that `op` writes.

    Empty for an operation with blocks, whose outputs are those of the operations inside. Empty for BatchNorm with fixed
    statistics, which lists them as outputs all the same.
    """
    still = op.type == "batch_norm" and statistics_stand_still(op.all_attrs())
    if _inner_blocks(op) or still:
        return ()
    return tuple(sorted(state.intersection(op.output_arg_names)))


def result_types(op: Any) -> set[str]:
    """numpy's names of the types of the results of `op`."""
    found = (op.block._find_var_recursive(name) for name in op.output_arg_names)
    return {dtype_name(each) for each in found if each is not None and each.type in _TENSORS}


def trains(op: Any) -> tuple[str, ...]:
    """The names of the variables that `op` updates by their gradients, as an optimizer's operation does."""
    names = ("param@VECTOR", "grad@VECTOR") if op.type == "ppema_step" else ("Param", "Grad")
    return tuple(sorted(op.input(names[0]))) if set(names).issubset(op.input_names) else ()


def source_of(op: Any) -> str:
    """ "file:line" of the user's code that built `op`; "" if unknown."""
    return user_frame(op.attr("op_callstack") if op.has_attr("op_callstack") else ())


def is_test(op: Any) -> bool | None:
    """The switch of `op` between training and test mode. None: it has none."""
    return op.attr("is_test") if op.has_attr("is_test") else None


def _inner_blocks(op: Any) -> list[int]:
    """The indices of an operation's nested blocks: one for `cond` and `while_loop`, a list for static_pylayer."""
    if "sub_block" in op.attr_names:
        return [op._block_attr_id("sub_block")]
    return list(op._blocks_attr_ids("blocks")) if "blocks" in op.attr_names else []
