"""The additions of a bias to each channel in a Paddle 3 program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
from paddle import _C_ops

from ppema.ir.base import Program, Variable, dtype_name

_ops: Any = _C_ops  # whose stubs do not know custom operators


def replace(program: Program, fetched: Sequence[Variable]) -> int:
    """As `base.IR.replace_channel_biases`."""
    kept = {value.get_defining_op().id() for value in fetched}
    replaced = 0
    with paddle.static.program_guard(program, paddle.static.Program()):
        for op in program.global_block().ops:
            if op.id() in kept:
                continue
            if op.name() == "pd_op.add" and _is_bias(*op.operands_source()):
                paddle.pir.set_insertion_point(op)
                _put(op.result(0), _ops._run_custom_op("ppema_channel_add", *op.operands_source()))
            elif op.name() == "pd_op.add_grad" and _is_bias(*op.operands_source()[:2]):
                paddle.pir.set_insertion_point(op)
                _, _, gradient = op.operands_source()
                (of_x, of_bias) = op.results()
                _put(of_x, gradient)
                _put(of_bias, _ops._run_custom_op("ppema_channel_sum", gradient))
            else:
                continue
            op.get_parent_block().remove_op(op)
            replaced += 1
    return replaced


def _is_bias(x: Variable, bias: Variable) -> bool:
    fits = len(x.shape) >= 3 and list(bias.shape) == [1, x.shape[1], *([1] * (len(x.shape) - 2))] and x.shape[1] > 0
    # Of one sample of one pixel the two have one shape, and nothing is broadcast.
    return fits and list(x.shape) != list(bias.shape) and dtype_name(x) == dtype_name(bias) == "float32"


def _put(old: Variable, new: Variable) -> None:
    if old.initialized():  # an input that needs no gradient has none
        if isinstance(new, list):
            (new,) = new
        new.stop_gradient = old.stop_gradient
        old.replace_all_uses_with(new)
