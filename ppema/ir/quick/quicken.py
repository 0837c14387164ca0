"""Replacements of operations of a Paddle 3 program with slow CPU kernels by faster operations with the same results.

A replacement applies to one kind of operation in a complete program. Paddle has built the gradients before, so no gradient
depends on a replacement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import paddle

from ppema.ir.base import Program, Variable, dtype_name
from ppema.ir.native import why_missing
from ppema.ir.quick.images import IMAGES
from ppema.ir.quick.layers import LAYERS
from ppema.ir.quick.replacement import Replacement


def quicken(program: Program, fetched: Sequence[Variable]) -> Counter[str]:
    """As `base.IR.quicken`."""
    kept, done = {value.get_defining_op().id() for value in fetched}, Counter()
    with paddle.static.program_guard(program, paddle.static.Program()):
        for op in list(program.global_block().ops):
            kind = op.name().removeprefix("pd_op.")
            tables = [table for table in (IMAGES, LAYERS) if kind in table]
            if not tables or op.id() in kept or not is_plain(op):
                continue
            found = [each for table in tables if not _overwrites(op, each := table[kind], kept) and each.fits(op)]
            found = [each for each in found if not (each.native and why_missing())]
            if found:
                _replace(op, found[0])
                done[kind] += 1
    return done


def _overwrites(op, replacement: Replacement, kept: Collection[int]) -> bool:
    """Whether the replacement of `op` overwrites a result of an operation in `kept`."""
    index = replacement.overwrites
    return index is not None and op.operand_source(index).get_defining_op().id() in kept


def _replace(op, replacement: Replacement) -> None:
    paddle.pir.set_insertion_point(op)
    for old, new in zip(op.results(), replacement.build(op), strict=True):
        if new is not None:
            new.stop_gradient = old.stop_gradient
            old.replace_all_uses_with(new)
    op.get_parent_block().remove_op(op)


def is_plain(op) -> bool:
    """Whether an operation computes in float32 with channels first. int64 operands are allowed, since they are shapes."""
    values = [value for value in (*op.operands_source(), *op.results()) if value.initialized()]
    types = {dtype_name(value) for value in values} - {"int64"}
    return types == {"float32"} and op.attrs().get("data_format", "NCHW") in ("NCHW", "NCDHW")
