"""Programs of Paddle 2.6 that leave the run: the copy for inference, and BatchNorms folded into the products before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import paddle

from ppema.ir.base import Program, Variable, dtype_name
from ppema.ir.descriptions import walk
from ppema.ir.elements import NormedProduct
from ppema.ir.kinds import FOLDING, changes_nothing, statistics_stand_still

_NORMS = ("batch_norm", "sync_batch_norm")


def slim(program: Program, kept: Sequence[Variable]) -> None:
    """Remove dropout that changes nothing from the outermost block of `program`, unless its result is among `kept`."""
    held, block = {value.name for value in kept}, program.global_block()
    for op in [each for each in block.ops if each.type == "dropout"]:
        attributes = op.all_attrs()
        mode = {"is_test": attributes["is_test"], "mode": attributes["dropout_implementation"]}
        (result,), (source,) = op.output("Out"), op.input("X")
        if result not in held and changes_nothing(mode):
            _replace(program, op, result, source)


def without_traces(content: bytes) -> bytes:
    """As `base.IR.without_traces`."""
    program = paddle.static.Program.parse_from_string(content)
    for op, _ in walk(program, program.global_block()):
        if op.has_attr("op_callstack"):
            op._remove_attr("op_callstack")
    return program.desc.serialize_to_string()


def fed(program: Program) -> dict[str, Variable]:
    """The variables that `program` is fed, by name."""
    return {each.name: each for each in program.global_block().vars.values() if each.is_data}


def normed_products(program: Program, kept: Sequence[Variable]) -> list[NormedProduct]:
    """As `base.IR.normed_products`."""
    held = {value.name for value in kept}
    block = program.global_block()
    uses = Counter(name for op, _ in walk(program, block) for name in set(op.input_arg_names))
    makers = {name: op for op in block.ops for name in op.output_arg_names}
    found = (_folding(block, op, held, uses, makers) for op in block.ops if op.type in _NORMS)
    return [each for each in found if each is not None]


def fold(program: Program, product: NormedProduct) -> None:
    """As `base.IR.fold`."""
    norm = product.operations[2]
    block, (result,) = program.global_block(), norm.input("X")
    if product.bias is None:
        like = block.var(norm.output("Y")[0])
        total = block.create_var(name=f"{like.name}/folded", shape=like.shape, dtype=like.dtype, stop_gradient=True)
        block._insert_op(
            block.ops.index(norm),
            type="elementwise_add",
            inputs={"X": [block.var(result)], "Y": [block.var(product.shift)]},
            outputs={"Out": [total]},
            attrs={"axis": _channel_axis(block, norm)},
        )
        result = total.name
    _replace(program, norm, norm.output("Y")[0], result)


def _folding(block: Any, norm: Any, held: set[str], uses: Counter[str], makers: dict[str, Any]) -> NormedProduct | None:
    """The product that `norm` normalises, if the two can become one. uses: readers of each variable; makers: its writer."""
    attributes = norm.all_attrs()
    (read,), (result,) = norm.input("X"), norm.output("Y")
    if result in held or read in held or uses[read] != 1 or not statistics_stand_still(attributes):
        return None
    made, added, bias = makers.get(read), None, None
    if made is not None and made.type == "elementwise_add" and (pair := _sum(block, made, norm, uses, makers)) is not None:
        added, (made, bias) = made, pair
    if made is None or made.type not in FOLDING:
        return None
    weight_key = "Filter" if "Filter" in made.input_names else "Y"
    (weight,), (output,) = made.input(weight_key), made.output("Output" if weight_key == "Filter" else "Out")
    if output in held or uses[output] != 1 or uses[weight] != 1 or not _same_axis(block, made, norm):
        return None
    (mean,), (variance,) = norm.input("Mean"), norm.input("Variance")
    scale, shift = (next(iter(norm.input(key)), None) for key in ("Scale", "Bias"))
    if bias is None and (shift is None or uses[shift] != 1):
        return None
    names = [name for name in (weight, mean, variance, scale, shift, bias) if name is not None]
    variables = [block.var(name) for name in names]
    types = {dtype_name(each) for each in variables}
    if not all(each.persistable for each in variables) or types not in ({"float32"}, {"float64"}):
        return None
    if made.type == "matmul_v2" and (made.attr("trans_x") or made.attr("trans_y")):
        return None
    return NormedProduct(
        kind=made.type,
        weight=weight,
        bias=bias,
        transposed=FOLDING[made.type],
        groups=made.attr("groups") if made.has_attr("groups") else 1,
        mean=mean,
        variance=variance,
        scale=scale,
        shift=shift,
        epsilon=attributes["epsilon"],
        operations=(made, added, norm),
    )


def _sum(block: Any, added: Any, norm: Any, uses: Counter[str], makers: dict[str, Any]) -> tuple[Any, str] | None:
    """The product and the name of the bias of a sum, [C] numbers along the channels of `norm`; None for another sum."""
    (product,), (bias,) = added.input("X"), added.input("Y")
    rank, axis = len(block.var(product).shape), _channel_axis(block, norm)
    shape, source = list(block.var(bias).shape), makers.get(bias)
    offset = added.attr("axis") if added.attr("axis") >= 0 else rank - len(shape)
    if source is not None:
        if source.type != "reshape2" or uses[bias] != 1:
            return None
        (bias,) = source.input("X")
    channels = block.var(product).shape[axis]
    aligned = [1] * offset + shape + [1] * (rank - offset - len(shape))
    expected = [channels if index == axis else 1 for index in range(rank)]
    if aligned != expected or list(block.var(bias).shape) != [channels] or uses[bias] != 1 or product not in makers:
        return None
    return makers[product], bias


def _same_axis(block: Any, product: Any, norm: Any) -> bool:
    if product.type == "matmul_v2":
        return len(block.var(product.output("Out")[0]).shape) == 2 == len(block.var(product.input("Y")[0]).shape)
    rank = len(block.var(product.output("Output")[0]).shape)
    last = not product.attr("data_format").startswith(("NC", "Any"))
    return _channel_axis(block, norm) == (rank - 1 if last else 1)


def _channel_axis(block: Any, norm: Any) -> int:
    rank = len(block.var(norm.output("Y")[0]).shape)
    return 1 if norm.attr("data_layout").startswith("NC") else rank - 1


def _replace(program: Program, op: Any, result: str, source: str) -> None:
    """Remove `op` of the outermost block. Readers of its `result` then read `source`."""
    block = program.global_block()
    block._remove_op(block.ops.index(op))
    for each in (each for inner in program.blocks for each in inner.ops):
        if result in each.input_arg_names:
            each._rename_input(result, source)
