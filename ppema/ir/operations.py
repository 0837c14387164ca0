"""The description of one operation of a Paddle 3 program: its kind, and the persistable variables it reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ppema.ir.base import Variable, dtype_name
from ppema.ir.kinds import statistics_stand_still


def walk(block: Any, depth: int = 0) -> Iterator[tuple[Any, int]]:
    """The operations of `block` in order, with their depth. Operations of nested blocks follow the one that holds them."""
    for op in block.ops:
        yield op, depth
        for inner in op.blocks():
            yield from walk(inner, depth + 1)


def written_inside(op: Any) -> set[str]:
    """The names of the persistable variables that operations in the blocks of `op` may write."""
    return {name for inner in op.blocks() for each, _ in walk(inner) for name in writes(each)}


def kind_of(op: Any) -> str:
    """Paddle's name of `op` without prefix: "conv2d", "batch_norm_"."""
    return op.name().removeprefix("pd_op.").removeprefix("custom_op.")


def state_name(op: Any) -> str | None:
    """The name of the persistable variable that `op` declares. None: it declares none."""
    if op.name() == "builtin.parameter":
        return op.attrs()["parameter_name"]
    return op.attrs()["name"] if op.name() == "pd_op.data" and op.result(0).persistable else None


def operand_of(op: Any, name: str) -> Variable | None:
    """The operand `name` of an in-place operation. None: the operation has no such operand, or it is not given."""
    names = op.get_input_names() if op.name().endswith("_") else ()
    source = op.operand_source(names.index(name)) if name in names else None
    return source if source is not None and source.initialized() else None


def result_types(op: Any) -> set[str]:
    """numpy's names of the types of the results of `op`."""
    return {dtype_name(value) for value in op.results() if value.initialized() and value.is_dense_tensor_type()}


# ppema's operation for the step of an optimizer; its weights are its first operand.
STEP = "custom_op.ppema_step_"
# Indices of the operands that an in-place operation writes, for operations that read persistable variables too.
_WRITTEN = {
    "pd_op.sgd_": (0, 3),
    "pd_op.average_accumulates_": (1, 2, 3, 4, 5, 6),
    "pd_op.assign_out_": (1,),
    "pd_op.batch_norm_": (1, 2),
    "pd_op.sync_batch_norm_": (1, 2),
    "custom_op.ppema_average_": (1,),
    STEP: (0, 2),
}


def members(value: Variable) -> list[Variable]:
    """The variables in a list of variables. Any other value gives itself."""
    made_by = value.get_defining_op()
    if made_by is None or made_by.name() != "builtin.combine":
        return [value]
    return [operand.source() for operand in made_by.operands()]


def _named(values: Iterable[Variable]) -> tuple[str, ...]:
    """The names of the persistable variables among `values`, sorted."""
    names = [state_name(value.get_defining_op()) for value in values if value.get_defining_op() is not None]
    return tuple(sorted({name for name in names if name is not None}))


def reads(op: Any) -> tuple[str, ...]:
    """The names of the persistable variables among the operands of `op`."""
    return _named(member for operand in op.operands() for member in members(operand.source()))


def writes(op: Any) -> tuple[str, ...]:
    """The names of the persistable variables that `op` writes, or may write.

    An operation whose name ends in "_" works in place. _WRITTEN lists the operands that some kinds write. Any other operation
    with one result writes the first operand, and one with several results may write each (optimizers: weights, moments,
    powers).
    """
    if not op.name().endswith("_"):
        return ()
    if "batch_norm" in op.name() and statistics_stand_still(op.attrs()):
        return ()
    operands = op.operands()
    everything = range(1) if op.num_results() == 1 else range(len(operands))
    written = [operands[index].source() for index in _WRITTEN.get(op.name(), everything)]
    return _named(member for value in written for member in members(value))


def trains(op: Any) -> tuple[str, ...]:
    """The names of the variables that `op` updates by their gradients, as an optimizer's operation does."""
    if op.name() == STEP:
        return _named(members(op.operand_source(0)))
    parameter = operand_of(op, "param")
    return _named(members(parameter)) if parameter is not None and operand_of(op, "grad") is not None else ()


def is_test(op: Any) -> bool | None:
    """The switch of `op` between training and test mode. None: it has none."""
    # On oneDNN the attribute is not such a switch: see `onednn_operations._replace`.
    return op.attrs()["is_test"] if op.has_attr("is_test") and op.name().startswith("pd_op.") else None
