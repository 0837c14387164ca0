"""Declarations of variables in Paddle 3 programs: a parameter read through a cast, and the copy of an initial value."""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle.nn.initializer import Constant
from paddle.pir.core import create_persistable_value

from ppema.ir.base import Program, Variable, dtype_name


def read_through_cast(program: Program, parameter, new: str, dtype: str) -> None:
    """Replace the operation `parameter`, which declares a parameter, by the cast of a variable `new` of type `dtype`."""
    replaced = parameter.result(0)
    with paddle.static.program_guard(program, paddle.static.Program()):
        source = create_persistable_value(dtype, list(replaced.shape), name=new, initializer=Constant(0.0))
        source.stop_gradient = True
        paddle.pir.set_insertion_point_after(source.get_defining_op())
        replaced.replace_all_uses_with(paddle.cast(source, replaced.dtype))
    program.global_block().remove_op(parameter)


def copy_of(startup: Program, name: str, dtype: str) -> Callable[..., Variable]:
    """An initializer that copies the initial value of the parameter `name` in `startup`, cast to `dtype`.

    Raises KeyError if `startup` does not initialise it.
    """
    for op in startup.global_block().ops:
        if op.name() == "builtin.set_parameter" and op.attrs()["parameter_name"] == name:
            value = op.operand_source(0)
            # A cast to its own type would return the value itself, not a copy.
            return lambda meta, block: paddle.assign(value) if dtype_name(value) == dtype else value.astype(dtype)
    raise KeyError(name)
