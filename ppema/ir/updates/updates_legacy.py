"""The optimizer's operations in a Paddle 2.6 program."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ppema.ir.descriptions import trains
from ppema.ir.elements import Program
from ppema.ir.updates.update import Update, rule_of

_ACCUMULATORS = {
    "sgd": (),
    "momentum": ("Velocity",),
    "adam": ("Moment1", "Moment2", "Beta1Pow", "Beta2Pow"),
    "lamb": ("Moment1", "Moment2", "Beta1Pow", "Beta2Pow"),
}


def take(main: Program, parameters: Sequence[str]) -> list[Update]:
    """As `IR.take_updates`."""
    # All blocks, since no operation refers to a branch that is still being built.
    found = [op for block in main.blocks for op in block.ops if set(trains(op)) & set(parameters)]
    updates = [each for each in map(_update, found) if each is not None]
    if sorted(each.parameter.name for each in updates) != sorted(parameters):
        return []
    writers: dict[str, list[Any]] = defaultdict(list)
    for op in found[0].block.ops:
        for name in op.output_arg_names:
            writers[name].append(op)
    dead = list(found)
    made = [_without_factor(_without_decay(each, writers, dead), writers, dead) for each in updates]
    for op in dead:
        op.block._remove_op(op.block.ops.index(op))
    return made


def _update(op: Any) -> Update | None:
    known = rule_of(op.type, op.all_attrs())
    if known is None:
        return None
    rule, numbers = known
    parameter, gradient, rate, *accumulators = (
        op.block._var_recursive(op.input(name)[0]) for name in ("Param", "Grad", "LearningRate", *_ACCUMULATORS[rule])
    )
    return Update(rule, parameter, gradient, rate, tuple(accumulators), numbers)


def _without_decay(update: Update, writers: dict[str, list[Any]], dead: list[Any]) -> Update:
    """`update` with the number of the L2 decay in place of the operations that add it to the gradient, if there are any.

    They write the gradient in place. writers: the operations that write each variable. dead: receives the replaced ones.
    """
    name = update.gradient.name
    if not writers[name] or writers[name][-1].type != "sum" or writers[name][-1].input("X")[:1] != [name]:
        return update
    sum_ = writers[name][-1]
    terms = sum_.input("X")[1:]
    scale = writers[terms[0]][-1] if len(terms) == 1 and writers[terms[0]] else None
    if scale is None or scale.type != "scale" or scale.input("X") != [update.parameter.name] or scale.attr("bias") != 0:
        return update
    if not (_unread(scale, terms[0], [sum_]) and _unread(sum_, name, dead)):
        return update
    writers[name].pop()
    dead += [sum_, scale]
    return replace(update, numbers=(scale.attr("scale"), *update.numbers[1:]))


def _without_factor(update: Update, writers: dict[str, list[Any]], dead: list[Any]) -> Update:
    """`update` with the factor of its gradient in place of the operation that multiplies by it in place, if there is one."""
    name = update.gradient.name
    if not writers[name] or writers[name][-1].type != "elementwise_mul" or writers[name][-1].input("X") != [name]:
        return update
    product = writers[name][-1]
    factor = product.block._var_recursive(product.input("Y")[0])
    if list(factor.shape) not in ([], [1]) or not _unread(product, name, dead):
        return update
    writers[name].pop()
    dead.append(product)
    return replace(update, factor=factor)


def _unread(writer: Any, name: str, apart: Sequence[Any]) -> bool:
    """Whether no operation after `writer` in its block reads the variable `name`, apart from those named."""
    operations = writer.block.ops
    later = operations[operations.index(writer) + 1 :]
    return not any(name in op.input_arg_names for op in later if op not in apart)
