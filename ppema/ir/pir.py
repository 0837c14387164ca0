"""Paddle 3's side of the seam: programs in PIR."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import paddle
from paddle import _C_ops
from paddle.base.unique_name import UniqueNameGenerator
from paddle.nn.initializer import Constant
from paddle.pir.core import create_persistable_value

from ppema.ir import exported_pir, onednn_layout, onednn_operations
from ppema.ir.autocast import autocast_pir
from ppema.ir.base import (
    Gradient,
    NativeOp,
    NormedProduct,
    Operation,
    Parameter,
    Program,
    Runner,
    TestSwitches,
    Variable,
    dtype_name,
)
from ppema.ir.declarations import copy_of, read_through_cast
from ppema.ir.direct import Direct
from ppema.ir.kinds import keeps_master_weights, user_frame
from ppema.ir.operations import (
    is_test,
    kind_of,
    operand_of,
    reads,
    result_types,
    state_name,
    trains,
    walk,
    writes,
    written_inside,
)
from ppema.ir.plain import Plain
from ppema.ir.quick.quicken import quicken
from ppema.ir.sparse import rows_of
from ppema.ir.updates import updates_pir
from ppema.ir.updates.update import OptimizerUpdate, Update

_BATCH_NORMS = ("pd_op.batch_norm_", "pd_op.sync_batch_norm_")
_ops: Any = _C_ops  # Any, as the stubs lack custom operators and optional arguments


class Pir:
    """The Protocol of `base.IR` on `paddle.pir` programs. Stateless."""

    def parameters(self, program: Program) -> list[Parameter]:
        values = _parameters(program)
        stopped = any(value.trainable and value.stop_gradient for value in values)
        # LookAhead assigns to the weights outside of gradients, which turns their stop_gradient on.
        updated = {name for op, _ in walk(program.global_block()) for name in trains(op)} if stopped else set()
        trainable = {v.name for v in values if v.trainable and (not v.stop_gradient or v.name in updated)}
        # By name, since two layers can share a variable under one name.
        found = {
            value.name: Parameter(
                name=value.name,
                shape=tuple(value.shape),
                dtype=dtype_name(value),
                trainable=value.name in trainable,
                averaged=value.do_model_average is not False and "float" in dtype_name(value),
                variable=value,
            )
            for value in values
        }
        return [found[name] for name in sorted(found)]

    def freeze_marked(self, program: Program) -> None:
        for value in _parameters(program):
            if not value.trainable:
                value.stop_gradient = True

    @contextmanager
    def fresh_names(self) -> Iterator[None]:
        # The default program of the former representation is empty, but it holds a counter that Paddle 3 still uses.
        counting = paddle.base.framework.default_main_program()
        before, counting._name_generator = counting._name_generator, UniqueNameGenerator()
        try:
            with paddle.utils.unique_name.guard():
                yield
        finally:
            counting._name_generator = before

    def state_names(self, program: Program) -> list[str]:
        names = {state_name(op) for op in program.global_block().ops}
        return sorted(name for name in names if name is not None)

    def size(self, program: Program) -> int:
        return program.num_ops()

    def initialised(self, startup: Program) -> set[str]:
        keys = {"builtin.set_parameter": "parameter_name", "builtin.shadow_output": "output_name"}
        return {op.attrs()[keys[op.name()]] for op in startup.global_block().ops if op.name() in keys}

    def operations(self, program: Program) -> Iterator[Operation]:
        for op, depth in walk(program.global_block()):
            source = user_frame(op.attrs().get("op_callstack", ()))
            yield Operation(kind_of(op), is_test(op), reads(op), writes(op), trains(op), depth, source)

    def clone(self, program: Program, values: Sequence[Variable]) -> tuple[Program, list[Variable]]:
        mapping = paddle.pir.IrMapping()
        copy = program.clone(mapping)
        for value in program.global_block().all_parameters():
            mapping.look_up(value).do_model_average = value.do_model_average
        return copy, [mapping.look_up(value) for value in values]

    def rename_parameters(self, program: Program, names: Mapping[str, str], types: Mapping[str, str] | None = None) -> None:
        for op in list(program.global_block().ops):
            if op.name() != "builtin.parameter" or (name := op.attrs()["parameter_name"]) not in names:
                continue
            if types is not None and types[name] != dtype_name(op.result(0)):
                read_through_cast(program, op, names[name], types[name])
            else:
                op.set_str_attr("parameter_name", names[name])

    def master_weights(self, program: Program) -> dict[str, tuple[str, Variable]]:
        found = {}
        for op, _ in walk(program.global_block()):
            parameter, master = (operand_of(op, name) for name in ("param", "master_param"))
            if parameter is not None and master is not None and keeps_master_weights(kind_of(op).rstrip("_")):
                found[parameter.name] = (state_name(master.get_defining_op()), master)
        return found

    def set_test(self, program: Program) -> TestSwitches:
        # Paddle's own set_is_test_attr covers the outermost block only: a dropout inside a `cond` would stay active.
        switches = [(op, is_test(op)) for op, _ in walk(program.global_block())]
        before = tuple((op, switch) for op, switch in switches if switch is not None)
        for op, _ in before:
            op.set_bool_attr("is_test", True)
        return TestSwitches(before)

    def reset_test(self, switches: TestSwitches) -> None:
        for op, switch in switches.before:
            op.set_bool_attr("is_test", switch)

    def fix_statistics(self, program: Program, names: Set[str]) -> None:
        for op, _ in walk(program.global_block()):
            if op.name() in _BATCH_NORMS:
                mean, variance = (op.operand_source(index).get_defining_op() for index in (1, 2))
                if {state_name(mean), state_name(variance)} <= names:
                    op.set_bool_attr("is_test", True)

    def autocast(self, main: Program, dtype: str) -> AbstractContextManager[None]:
        return autocast_pir(dtype)

    def computed_in(self, program: Program, dtype: str) -> Counter[str]:
        return Counter(kind_of(op) for op, _ in walk(program.global_block()) if dtype in result_types(op))

    def observe_statistics(self, program: Program, names: Set[str]) -> list[tuple[str, str]]:
        pairs = []
        for op, _ in list(walk(program.global_block())):
            if op.name() not in _BATCH_NORMS:
                continue
            x, mean, variance, scale, bias = (operand.source() for operand in op.operands())
            pair = (state_name(mean.get_defining_op()), state_name(variance.get_defining_op()))
            if names.isdisjoint(pair):
                continue
            # PIR cannot set a float attribute such as the momentum, so a new operation replaces this one.
            with paddle.static.program_guard(program):
                paddle.pir.set_insertion_point(op)
                attributes = op.attrs()
                form = (attributes["epsilon"], attributes["data_format"])
                results = _C_ops.batch_norm_(x, mean, variance, scale, bias, False, 0.0, *form, False, False)
            for old, new in zip(op.results(), results, strict=True):
                old.replace_all_uses_with(new)
            op.get_parent_block().remove_op(op)
            pairs.append(pair)
        return pairs

    def count_values(self, program: Program, names: Mapping[str, str]) -> None:
        for op, _ in list(walk(program.global_block())):
            if op.name() not in _BATCH_NORMS:
                continue
            x, mean = (operand.source() for operand in op.operands()[:2])
            if name := names.get(state_name(mean.get_defining_op()) or ""):
                count = self.create_state(program, paddle.static.Program(), name, [], "int64", 0)
                with paddle.static.program_guard(program):
                    paddle.pir.set_insertion_point(op)
                    paddle.assign(paddle.numel(x), count)

    def create_state(
        self, main: Program, startup: Program, name: str, shape: Sequence[int], dtype: str, value: float | Parameter
    ) -> Variable:
        with paddle.static.program_guard(main, startup):
            # The outermost block, even while a branch is built: `state_names` and the executor search no other.
            paddle.pir.set_insertion_point_to_block_end(main.global_block())
            initializer = copy_of(startup, value.name, dtype) if isinstance(value, Parameter) else Constant(value)
            variable = create_persistable_value(dtype, list(shape), name=name, initializer=initializer)
        variable.stop_gradient = True
        return variable

    def append_descent(self, target: Variable, gradient: Variable, rate: Variable) -> None:
        _ops.sgd_(target, rate, gradient, None, False)

    def append_native_op(self, op: NativeOp) -> list[Variable]:
        made = _ops._run_custom_op(op.kind, *map(list, op.inputs.values()), *op.attributes.values())
        if op.written:
            return []
        for each in made:
            each.stop_gradient = True
        return made

    def take_updates(self, main: Program, parameters: Sequence[str]) -> list[Update]:
        return updates_pir.take(main, parameters)

    def append_all_reduce(self, value: Variable) -> Variable:
        return _ops.all_reduce_(value, 0, 0)  # ring 0, SUM

    def after_branches(self, main: Program, value: Variable) -> Variable:
        for op in main.global_block().ops:
            if op.name() in ("pd_op.if", "pd_op.while"):
                result = next((each for each in op.results() if each.is_dense_tensor_type()), None)
                if result is not None:
                    # Adding 0 times the number of its elements keeps the value, and makes it wait for the operation.
                    value = value + paddle.cast(paddle.numel(result) * 0, value.dtype)
        return value

    def early_copies(self, main: Program, parameters: Sequence[Parameter]) -> list[Variable]:
        copies, written = {}, {op: written_inside(op) for op in main.global_block().ops if op.blocks()}
        with paddle.static.program_guard(main):
            for parameter in parameters:
                # Only other declarations and copies follow the declaration directly.
                paddle.pir.set_insertion_point_after(parameter.variable.get_defining_op())
                copies[parameter.name] = paddle.assign(parameter.variable)
            for op, names in written.items():
                # The scheduler may not see what a branch writes. Its condition therefore depends on the copies.
                for name in names & copies.keys():
                    paddle.pir.set_insertion_point(op)
                    copied = paddle.numel(copies[name]) >= 0
                    op.operand(0).set_source(paddle.logical_and(op.operand_source(0), copied))
        return list(copies.values())

    def update_of(self, main: Program, optimizer: Any, gradients: Sequence[Gradient]) -> OptimizerUpdate:
        # Created here and not in the branch: variables would be declared there, and the executor would not find the rate.
        optimizer._create_global_learning_rate()
        optimizer._create_accumulators(main.global_block(), [parameter for parameter, _ in gradients])

        def update(gradients: Sequence[Gradient]) -> None:
            # As in `minimize`: `apply_gradients` would sort them, and clipping would sum the squares in another order.
            optimizer._apply_optimize(None, None, list(gradients))

        return OptimizerUpdate(optimizer, update)

    def gradient_values(self, gradient: Variable, *, merged: bool = False) -> Variable:
        return rows_of(gradient, merged) if gradient.is_selected_row_type() else gradient

    def runner(self, executor: Any, scope: Any, program: Program, fetch: Sequence[Variable]) -> Runner:
        # Nobody has tried `Direct` on a GPU.
        if isinstance(executor.place, paddle.CPUPlace):
            return Direct(executor.place, scope, program, fetch)
        return Plain(executor, program, fetch)

    def onednn_hindrance(self) -> str | None:
        return onednn_operations.hindrance()

    def place_on_onednn(self, program: Program, kinds: Collection[str], fetched: Sequence[Variable]) -> Counter[str]:
        return onednn_operations.place(program, kinds, fetched)

    def channels_last(self, program: Program) -> str | None:
        return onednn_operations.channels_last(program)

    def settle(self) -> None:
        onednn_layout.settle()

    def quicken(self, program: Program, fetched: Sequence[Variable]) -> Counter[str]:
        return quicken(program, fetched)

    def for_inference(
        self, program: Program, values: Sequence[Variable]
    ) -> tuple[Program, dict[str, Variable], list[Variable]]:
        copy, copies = self.clone(program, values)
        exported_pir.slim(copy, copies)
        return copy, exported_pir.fed(copy), copies

    def without_traces(self, content: bytes) -> bytes:
        return content  # Paddle 3 saves none

    def normed_products(self, program: Program, kept: Sequence[Variable]) -> list[NormedProduct]:
        return exported_pir.normed_products(program, kept)

    def fold(self, program: Program, product: NormedProduct) -> None:
        exported_pir.fold(program, product)

    def update_section(self, main: Program) -> AbstractContextManager[None]:
        return nullcontext()


def _parameters(program: Program) -> list[Variable]:
    # The rate of an LR scheduler is a builtin.parameter too, without this attribute.
    return [v for v in program.global_block().all_parameters() if v.get_defining_op().has_attr("is_parameter")]
