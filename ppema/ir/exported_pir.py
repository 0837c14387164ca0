"""Programs of Paddle 3 that leave the run: the copy for inference, and BatchNorms folded into the products before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import paddle

from ppema.ir.base import Program, Variable, dtype_name
from ppema.ir.elements import NormedProduct
from ppema.ir.kinds import FOLDING, changes_nothing, statistics_stand_still
from ppema.ir.operations import kind_of, reads, state_name, walk


def slim(program: Program, kept: Sequence[Variable]) -> None:
    """Remove dropout that changes nothing from the outermost block of `program`, unless its result is among `kept`."""
    held = _ids(kept)
    for op in list(program.global_block().ops):
        if op.name() == "pd_op.dropout" and op.id() not in held and changes_nothing(op.attrs()):
            op.result(0).replace_all_uses_with(op.operand_source(0))
            op.get_parent_block().remove_op(op)


def fed(program: Program) -> dict[str, Variable]:
    """The variables that `program` is fed, by name."""
    found = (op for op in program.global_block().ops if op.name() == "pd_op.data" and state_name(op) is None)
    return {op.attrs()["name"]: op.result(0) for op in found}


def normed_products(program: Program, kept: Sequence[Variable]) -> list[NormedProduct]:
    """As `base.IR.normed_products`."""
    held = _ids(kept)
    uses = Counter(name for op, _ in walk(program.global_block()) for name in reads(op))
    found = (_folding(op, held, uses) for op in program.global_block().ops if kind_of(op).rstrip("_") in _NORMS)
    return [each for each in found if each is not None]


def fold(program: Program, product: NormedProduct) -> None:
    """As `base.IR.fold`."""
    made, added, norm = product.operations
    result = (added or made).result(0)
    if product.bias is None:
        with paddle.static.program_guard(program, paddle.static.Program()):
            paddle.pir.set_insertion_point(norm)
            shift = norm.operand_source(4)
            if (axis := _channel_axis(norm)) < len(result.shape) - 1:
                shift = paddle.reshape(shift, [1] * axis + [-1] + [1] * (len(result.shape) - axis - 1))
            result = paddle.add(result, shift)
    norm.result(0).replace_all_uses_with(result)
    norm.get_parent_block().remove_op(norm)


_NORMS = ("batch_norm", "sync_batch_norm")


def _folding(norm: Any, held: set[int], uses: Counter[str]) -> NormedProduct | None:
    """The product that `norm` normalises, if the two can become one. uses: readers of each parameter."""
    if norm.id() in held or not statistics_stand_still(norm.attrs()):
        return None
    read = norm.operand_source(0)
    made, added, bias = read.get_defining_op(), None, None
    if made is not None and made.name() == "pd_op.add" and (pair := _sum(made, norm)) is not None:
        added, (made, bias) = made, pair
        if added.id() in held or not read.has_one_use() or uses[bias] != 1:
            return None
    if (
        made is None
        or (kind := kind_of(made)) not in FOLDING
        or made.id() in held
        or not made.result(0).has_one_use()
        or not _same_axis(made, norm)
    ):
        return None
    mean, variance, scale, shift = (_parameter(norm.operand_source(index)) for index in range(1, 5))
    weight = _parameter(made.operand_source(1))
    given = [norm.operand_source(index).initialized() for index in (3, 4)]
    if not (weight and mean and variance) or uses[weight] != 1 or given != [scale is not None, shift is not None]:
        return None
    if bias is None and (shift is None or uses[shift] != 1):
        return None
    values = [made.operand_source(1), *(norm.operand_source(index) for index in range(5))]
    types = {dtype_name(value) for value in values if value.initialized()}
    if types not in ({"float32"}, {"float64"}):
        return None
    attributes = made.attrs()
    if kind == "matmul" and (attributes["transpose_x"] or attributes["transpose_y"]):
        return None
    return NormedProduct(
        kind=kind,
        weight=weight,
        bias=bias,
        transposed=FOLDING[kind],
        groups=attributes.get("groups", 1),
        mean=mean,
        variance=variance,
        scale=scale,
        shift=shift,
        epsilon=norm.attrs()["epsilon"],
        operations=(made, added, norm),
    )


def _sum(added: Any, norm: Any) -> tuple[Any, str] | None:
    """The product and the name of the bias of a sum, [C] numbers along the channels of `norm`; None for another sum."""
    product, bias = added.operand_source(0), added.operand_source(1)
    source, shape = bias.get_defining_op(), list(bias.shape)
    if source is not None and source.name() == "pd_op.reshape":
        if not bias.has_one_use():
            return None
        source = source.operand_source(0).get_defining_op()
    name = None if source is None else state_name(source)
    channels = added.result(0).shape[_channel_axis(norm)]
    if source is None or name is None or product.get_defining_op() is None or list(source.result(0).shape) != [channels]:
        return None
    rank, axis = len(added.result(0).shape), _channel_axis(norm)
    aligned = [1] * (rank - len(shape)) + shape
    expected = [channels if index == axis else 1 for index in range(rank)]
    return (product.get_defining_op(), name) if aligned == expected else None


def _same_axis(product: Any, norm: Any) -> bool:
    rank = len(product.result(0).shape)
    if kind_of(product) == "matmul":
        return rank == 2 and len(product.operand_source(1).shape) == 2
    last = not product.attrs()["data_format"].startswith("NC")
    return _channel_axis(norm) == (rank - 1 if last else 1)


def _channel_axis(norm: Any) -> int:
    return 1 if norm.attrs()["data_format"].startswith("NC") else len(norm.result(0).shape) - 1


def _parameter(value: Variable) -> str | None:
    source = value.get_defining_op() if value.initialized() else None
    return None if source is None else state_name(source)


def _ids(values: Sequence[Variable]) -> set[int]:
    return {value.get_defining_op().id() for value in values}
