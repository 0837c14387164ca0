"""Paddle 2.6's side of the seam: programs as ProgramDesc."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from typing import Any

import paddle
from paddle.base.framework import Parameter as PaddleParameter

from ppema.errors import ConfigError
from ppema.ir import exported_legacy, onednn_layout
from ppema.ir.autocast import autocast_legacy
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
from ppema.ir.descriptions import is_test, result_types, source_of, trains, walk, writes
from ppema.ir.kinds import keeps_master_weights
from ppema.ir.plain import Plain
from ppema.ir.sparse import rows_of
from ppema.ir.updates import updates_legacy
from ppema.ir.updates.update import OptimizerUpdate, Update

_BATCH_NORMS = ("batch_norm", "sync_batch_norm")
# Optimizers that take sparse gradients. Measured: all others fail at the first step, and AdamW ends the process.
_TAKE_SPARSE = ("SGD", "Momentum", "Adagrad", "Adam", "Lamb", "RMSProp")


class Legacy:
    """The Protocol of `base.IR` on ProgramDesc programs. Stateless."""

    def parameters(self, program: Program) -> list[Parameter]:
        found = [
            Parameter(
                name=variable.name,
                shape=tuple(variable.shape),
                dtype=dtype_name(variable),
                trainable=variable.trainable and not variable.stop_gradient,
                averaged=variable.do_model_average is not False and "float" in dtype_name(variable),
                variable=variable,
            )
            for variable in program.global_block().vars.values()
            if isinstance(variable, PaddleParameter)
        ]
        return sorted(found, key=lambda parameter: parameter.name)

    def freeze_marked(self, program: Program) -> None:
        for parameter in self.parameters(program):
            if not parameter.trainable:
                parameter.variable.stop_gradient = True

    def fresh_names(self) -> AbstractContextManager[None]:
        return paddle.utils.unique_name.guard()  # each program counts all other names itself

    def state_names(self, program: Program) -> list[str]:
        # The executor's own variables "feed" and "fetch" are persistable too, but hold no tensor.
        kinds = {paddle.base.core.VarDesc.VarType.FEED_MINIBATCH, paddle.base.core.VarDesc.VarType.FETCH_LIST}
        return sorted(v.name for v in program.list_vars() if v.persistable and v.type not in kinds)

    def size(self, program: Program) -> int:
        return sum(len(block.ops) for block in program.blocks)

    def initialised(self, startup: Program) -> set[str]:
        return {name for op in startup.global_block().ops for name in op.output_arg_names}

    def operations(self, program: Program) -> Iterator[Operation]:
        state = set(self.state_names(program))
        for op, depth in walk(program, program.global_block()):
            reads = tuple(sorted(state.intersection(op.input_arg_names)))
            yield Operation(op.type, is_test(op), reads, writes(op, state), trains(op), depth, source_of(op))

    def clone(self, program: Program, values: Sequence[Variable]) -> tuple[Program, list[Variable]]:
        copy = program.clone()
        for parameter in self.parameters(program):
            copy.global_block().var(parameter.name).do_model_average = parameter.variable.do_model_average
        return copy, [copy.global_block().var(value.name) for value in values]

    def rename_parameters(self, program: Program, names: Mapping[str, str], types: Mapping[str, str] | None = None) -> None:
        outer = program.global_block()
        for old, new in names.items():
            if not outer.has_var(old):
                continue
            if types is not None and types[old] != dtype_name(outer.var(old)):
                _read_through_cast(program, old, new, types[old])
                continue
            outer._rename_var(old, new)
            _rename_in(program.blocks[1:], old, new)

    def master_weights(self, program: Program) -> dict[str, tuple[str, Variable]]:
        outer, found = program.global_block(), {}
        # All blocks, and not _walk: no operation refers to a branch that is still being built.
        for op in (op for block in program.blocks for op in block.ops):
            if "MasterParam" in op.input_names and keeps_master_weights(op.type):
                # The optimizer has no master weights, or as many as parameters.
                found |= {p: (m, outer.var(m)) for p, m in zip(op.input("Param"), op.input("MasterParam"), strict=False)}
        return found

    def set_test(self, program: Program) -> TestSwitches:
        switches = [(op, is_test(op)) for op, _ in walk(program, program.global_block())]
        before = tuple((op, switch) for op, switch in switches if switch is not None)
        for op, _ in before:
            op._set_attr("is_test", True)
        return TestSwitches(before)

    def reset_test(self, switches: TestSwitches) -> None:
        for op, switch in switches.before:
            op._set_attr("is_test", switch)

    def fix_statistics(self, program: Program, names: Set[str]) -> None:
        for op, _ in walk(program, program.global_block()):
            if op.type in _BATCH_NORMS and {*op.input("Mean"), *op.input("Variance")} <= names:
                op._set_attr("is_test", True)

    def autocast(self, main: Program, dtype: str) -> AbstractContextManager[None]:
        return autocast_legacy(main, dtype)

    def computed_in(self, program: Program, dtype: str) -> Counter[str]:
        return Counter(op.type for op, _ in walk(program, program.global_block()) if dtype in result_types(op))

    def observe_statistics(self, program: Program, names: Set[str]) -> list[tuple[str, str]]:
        pairs = []
        for op, _ in walk(program, program.global_block()):
            if op.type not in _BATCH_NORMS:
                continue
            (mean,), (variance,) = op.input("Mean"), op.input("Variance")
            if names.isdisjoint((mean, variance)):
                continue
            for switch in ("is_test", "use_global_stats", "trainable_statistics"):
                op._set_attr(switch, False)
            op._set_attr("momentum", 0.0)
            if "ReserveSpace" not in op.output_names or not op.output("ReserveSpace"):
                # An operation built in eval mode lacks this output, which training writes.
                reserve = op.block.create_var(name=f"{mean}/reserve", dtype="float32", stop_gradient=True)
                op.desc.set_output("ReserveSpace", [reserve.name])
            pairs.append((mean, variance))
        return pairs

    def count_values(self, program: Program, names: Mapping[str, str]) -> None:
        for op, _ in list(walk(program, program.global_block())):
            if op.type in _BATCH_NORMS and op.input("Mean")[0] in names:
                count = self.create_state(program, paddle.static.Program(), names[op.input("Mean")[0]], [], "int64", 0)
                x, block = op.input("X"), op.block
                block._insert_op(block.ops.index(op), type="size", inputs={"Input": x}, outputs={"Out": [count]})

    def create_state(
        self, main: Program, startup: Program, name: str, shape: Sequence[int], dtype: str, value: float | Parameter
    ) -> Variable:
        form = {"name": name, "shape": list(shape), "dtype": dtype, "persistable": True, "stop_gradient": True}
        block = startup.global_block()
        initial = block.create_var(**form)
        if isinstance(value, Parameter):
            if not block.has_var(value.name):
                raise KeyError(value.name)
            block.append_op(**_cast(block.var(value.name), initial))
        else:
            paddle.nn.initializer.Constant(value)(initial, block)
        return main.global_block().create_var(**form)

    def append_descent(self, target: Variable, gradient: Variable, rate: Variable) -> None:
        inputs = {"Param": [target], "Grad": [gradient], "LearningRate": [rate]}
        paddle.static.default_main_program().current_block().append_op(
            type="sgd", inputs=inputs, outputs={"ParamOut": [target]}
        )

    def append_native_op(self, op: NativeOp) -> list[Variable]:
        block = paddle.static.default_main_program().current_block()
        made = {}
        for name, (shape, dtype) in op.results.items():
            own = paddle.utils.unique_name.generate(op.kind)
            made[name] = block.create_var(name=own, shape=shape, dtype=dtype, stop_gradient=True)
        given = {f"{name}@VECTOR": list(values) for name, values in op.inputs.items()}
        results = {name: [each] for name, each in made.items()}
        results |= {f"{name}_out@VECTOR": list(op.inputs[name]) for name in op.written}
        block.append_op(type=op.kind, inputs=given, outputs=results, attrs=dict(op.attributes))
        return list(made.values())

    def take_updates(self, main: Program, parameters: Sequence[str]) -> list[Update]:
        return updates_legacy.take(main, parameters)

    def append_all_reduce(self, value: Variable) -> Variable:
        given = {"inputs": {"x": [value]}, "outputs": {"out": [value]}, "attrs": {"ring_id": 0, "reduce_type": 0}}
        paddle.static.default_main_program().current_block().append_op(type="all_reduce", **given)
        return value  # c_allreduce_sum, which `paddle.distributed.all_reduce` appends, has no communicator on a CPU

    def after_branches(self, main: Program, value: Variable) -> Variable:
        return value  # operations run in the program's order

    def early_copies(self, main: Program, parameters: Sequence[Parameter]) -> list[Variable]:
        block, copies = main.global_block(), []
        for parameter in parameters:
            source = parameter.variable
            copy = block.create_var(
                name=paddle.utils.unique_name.generate(f"{source.name}/early"),
                shape=source.shape,
                dtype=source.dtype,
                stop_gradient=True,
            )
            block._prepend_op(type="assign", inputs={"X": [source]}, outputs={"Out": [copy]})
            copies.append(copy)
        return copies

    def update_of(self, main: Program, optimizer: Any, gradients: Sequence[Gradient]) -> OptimizerUpdate:
        sparse = [parameter.name for parameter, gradient in gradients if _is_sparse(gradient)]
        if sparse and type(optimizer).__name__ not in _TAKE_SPARSE:
            known = ", ".join(_TAKE_SPARSE)
            raise ConfigError.of(f"the gradient of {sparse[0]} is sparse, which Paddle 2.6 can give to {known} only", "name")

        def update(gradients: Sequence[Gradient]) -> None:
            block, outer = main.current_block(), main.global_block()
            # As in Paddle's own GradientMergeOptimizer: the optimizer appends to this block, and so does regularization, which
            # appends to the block of a gradient.
            block._set_forward_block_idx(block.idx)
            for _, gradient in gradients:
                gradient.block = block
            optimizer.apply_gradients(list(gradients))
            for _, gradient in gradients:
                gradient.block = outer

        return OptimizerUpdate(optimizer, update)

    def gradient_values(self, gradient: Variable, *, merged: bool = False) -> Variable:
        return rows_of(gradient, merged) if _is_sparse(gradient) else gradient

    def runner(self, executor: Any, scope: Any, program: Program, fetch: Sequence[Variable]) -> Runner:
        return Plain(executor, program, fetch)

    def onednn_hindrance(self) -> str | None:
        return f"paddle {paddle.__version__} can not place single operations there"

    def place_on_onednn(self, program: Program, kinds: Collection[str], fetched: Sequence[Variable]) -> Counter[str]:
        raise NotImplementedError(self.onednn_hindrance())

    def channels_last(self, program: Program) -> str | None:
        raise NotImplementedError(self.onednn_hindrance())

    def settle(self) -> None:
        onednn_layout.settle()  # for programs of paddle.inference

    def quicken(self, program: Program, fetched: Sequence[Variable]) -> Counter[str]:
        raise NotImplementedError(self.onednn_hindrance())

    def for_inference(
        self, program: Program, values: Sequence[Variable]
    ) -> tuple[Program, dict[str, Variable], list[Variable]]:
        copy, copies = self.clone(program, values)
        exported_legacy.slim(copy, copies)
        return copy, exported_legacy.fed(copy), copies

    def without_traces(self, content: bytes) -> bytes:
        return exported_legacy.without_traces(content)

    def normed_products(self, program: Program, kept: Sequence[Variable]) -> list[NormedProduct]:
        return exported_legacy.normed_products(program, kept)

    def fold(self, program: Program, product: NormedProduct) -> None:
        exported_legacy.fold(program, product)

    def update_section(self, main: Program) -> AbstractContextManager[None]:
        # The role of operations that `Program.clone(for_test=True)` removes.
        return main._optimized_guard([])


def _rename_in(blocks, old: str, new: str) -> None:
    for block in blocks:
        for op in block.ops:
            op._rename_input(old, new)
            op._rename_output(old, new)


def _read_through_cast(program: Program, old: str, new: str, dtype: str) -> None:
    """Replace the parameter `old` by the cast of a variable `new` of type `dtype`."""
    outer = program.global_block()
    replaced, read = outer.var(old), f"{new}/{dtype_name(outer.var(old))}"
    form = {"shape": replaced.shape, "stop_gradient": True}
    source = outer.create_var(name=new, dtype=dtype, persistable=True, **form)
    result = outer.create_var(name=read, dtype=replaced.dtype, **form)
    _rename_in(program.blocks, old, read)
    outer._remove_var(old)
    outer._prepend_op(**_cast(source, result))


def _cast(source: Variable, target: Variable) -> dict[str, Any]:
    """The description of an operation that copies `source`, cast to the type of `target`, into `target`."""
    attributes = {"in_dtype": source.dtype, "out_dtype": target.dtype}
    return {"type": "cast", "inputs": {"X": [source]}, "outputs": {"Out": [target]}, "attrs": attributes}


def _is_sparse(gradient: Variable) -> bool:
    return gradient.type == paddle.base.core.VarDesc.VarType.SELECTED_ROWS
