"""The optimizer's operations in a Paddle 3 program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ppema.ir.elements import Program, Variable
from ppema.ir.operations import kind_of, members, operand_of, trains, walk
from ppema.ir.updates.update import Update, rule_of

_ACCUMULATORS = {
    "sgd": (),
    "momentum": ("velocity",),
    "adam": ("moment1", "moment2", "beta1_pow", "beta2_pow"),
    "lamb": ("moment1", "moment2", "beta1_pow", "beta2_pow"),
}


def take(main: Program, parameters: Sequence[str]) -> list[Update]:
    """As `IR.take_updates`."""
    found = [op for op, _ in walk(main.global_block()) if set(trains(op)) & set(parameters)]
    updates = [each for each in map(_update, found) if each is not None]
    if sorted(each.parameter.name for each in updates) != sorted(parameters):
        return []
    for op in found:
        op.get_parent_block().remove_op(op)
    return [_without_factor(_without_decay(each)) for each in updates]


def _update(op: Any) -> Update | None:
    attributes = op.attrs()
    # Numbers that may be variables are operands.
    for name in ("beta1", "beta2", "epsilon"):
        if (value := operand_of(op, name)) is not None and (number := _number(value)) is not None:
            attributes[name] = number
    known = rule_of(kind_of(op).removesuffix("_"), attributes)
    if known is None:
        return None
    rule, numbers = known
    parameter, gradient, rate, *accumulators = (
        operand_of(op, name) for name in ("param", "grad", "learning_rate", *_ACCUMULATORS[rule])
    )
    return Update(rule, parameter, gradient, rate, tuple(accumulators), numbers)


def _number(value: Variable) -> float | None:
    """The number that `value` holds, if a `full` operation makes it."""
    made = value.get_defining_op()
    return made.attrs()["value"] if made is not None and made.name() == "pd_op.full" else None


def _without_decay(update: Update) -> Update:
    """`update` with the number of the L2 decay in place of the operations that add it to the gradient, if there are any."""
    sum_ = update.gradient.get_defining_op()
    if sum_ is None or sum_.name() != "pd_op.add_n" or not _unused(sum_):
        return update
    gradient, *terms = members(sum_.operand_source(0))
    scale = terms[0].get_defining_op() if len(terms) == 1 else None
    if scale is None or scale.name() != "pd_op.scale" or not scale.operand_source(0).is_same(update.parameter):
        return update
    coefficient = _number(scale.operand_source(1))
    if coefficient is None or scale.attrs()["bias"] != 0:
        return update
    for op in (sum_, sum_.operand_source(0).get_defining_op(), scale, scale.operand_source(1).get_defining_op()):
        if _unused(op):
            op.get_parent_block().remove_op(op)
    return replace(update, gradient=gradient, numbers=(coefficient, *update.numbers[1:]))


def _without_factor(update: Update) -> Update:
    """`update` with the factor of its gradient in place of the operation that multiplies by it, if there is one."""
    product = update.gradient.get_defining_op()
    if product is None or product.name() != "pd_op.multiply" or not _unused(product):
        return update
    gradient, factor = (product.operand_source(index) for index in range(2))
    if list(factor.shape) not in ([], [1]) or list(gradient.shape) != list(product.result(0).shape):
        return update
    product.get_parent_block().remove_op(product)
    return replace(update, gradient=gradient, factor=factor)


def _unused(op: Any) -> bool:
    return all(result.use_empty() for result in op.results())
