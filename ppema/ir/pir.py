"""Paddle 3's side of the seam: programs in PIR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import paddle
from paddle import _C_ops
from paddle.pir.core import create_persistable_value

from ppema.ir.base import Operation, Parameter, Program, TestSwitches, Variable

_DTYPES = {
    getattr(paddle, name): name for name in ("float16", "bfloat16", "float32", "float64", "int32", "int64", "uint8", "bool")
}


class Pir:
    """The Protocol of `base.IR` on `paddle.pir` programs. Stateless."""

    def parameters(self, program: Program) -> list[Parameter]:
        found = [
            Parameter(
                name=value.name,
                shape=tuple(value.shape),
                dtype=dtype_name(value),
                trainable=not value.stop_gradient,
                averaged=value.do_model_average is not False,
                variable=value,
            )
            for value in program.global_block().all_parameters()
            # An LR scheduler's rate is a builtin.parameter as well, but nobody's weight.
            if value.get_defining_op().has_attr("is_parameter")
        ]
        return sorted(found, key=lambda parameter: parameter.name)

    def state_names(self, program: Program) -> list[str]:
        names = set()
        for op in program.global_block().ops:
            if op.name() == "builtin.parameter":
                names.add(op.attrs()["parameter_name"])
            elif op.name() == "pd_op.data" and op.result(0).persistable:
                names.add(op.attrs()["name"])
        return sorted(names)

    def operations(self, program: Program) -> Iterator[Operation]:
        for op, depth in _walk(program.global_block()):
            yield Operation(op.name().removeprefix("pd_op."), _is_test(op), depth, _source(op))

    def clone(self, program: Program, values: Sequence[Variable]) -> tuple[Program, list[Variable]]:
        mapping = paddle.pir.IrMapping()
        copy = program.clone(mapping)
        return copy, [mapping.look_up(value) for value in values]

    def rename_parameters(self, program: Program, names: Mapping[str, str]) -> None:
        for op in program.global_block().ops:
            if op.name() == "builtin.parameter":
                name = op.attrs()["parameter_name"]
                op.set_str_attr("parameter_name", names.get(name, name))

    def set_test(self, program: Program) -> TestSwitches:
        # Paddle's own set_is_test_attr stops at the top level and would leave a dropout inside a `cond` running.
        switches = [(op, _is_test(op)) for op, _ in _walk(program.global_block())]
        before = tuple((op, switch) for op, switch in switches if switch is not None)
        for op, _ in before:
            op.set_bool_attr("is_test", True)
        return TestSwitches(program, before)

    def reset_test(self, switches: TestSwitches) -> None:
        for op, switch in switches.before:
            op.set_bool_attr("is_test", switch)

    def create_state(
        self, main: Program, startup: Program, name: str, shape: Sequence[int], dtype: str, value: float
    ) -> Variable:
        with paddle.static.program_guard(main, startup):
            initializer = paddle.nn.initializer.Constant(value)
            variable = create_persistable_value(dtype, list(shape), name=name, initializer=initializer)
        variable.stop_gradient = True
        return variable

    def append_assign(self, target: Variable, value: Variable) -> None:
        _C_ops.assign_out_(value, target)

    def append_lerp(self, target: Variable, value: Variable, weight: Variable) -> None:
        if dtype_name(value) != "float32":
            value = paddle.cast(value, "float32")
        _C_ops.lerp_(target, value, weight)


def dtype_name(value: Variable) -> str:
    """The type of a variable's elements as numpy spells it."""
    return _DTYPES[value.dtype]


def _walk(block, depth: int = 0):
    for op in block.ops:
        yield op, depth
        for inner in op.blocks():
            yield from _walk(inner, depth + 1)


def _is_test(op) -> bool | None:
    return op.attrs()["is_test"] if op.has_attr("is_test") else None


def _source(op) -> str:
    """Where the user's code built this operation: the innermost frame of Paddle's call stack that is not Paddle's own."""
    frames = [line.strip() for line in op.attrs().get("op_callstack", ()) if line.strip().startswith("File ")]
    for frame in reversed(frames):
        path, _, rest = frame.removeprefix('File "').partition('", line ')
        if "/paddle/" not in path:
            return f"{path}:{rest.partition(',')[0]}"
    return ""
