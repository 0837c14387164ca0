"""Replacements of operations of a Paddle 3 program with slow CPU kernels by faster operations of the same meaning.

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
            found = next((table[kind] for table in tables if _applies(table[kind], op, kept)), None)
            if found is not None:
                _replace(op, found)
                done[kind] += 1
    return done


def _applies(replacement: Replacement, op, kept: Collection[int]) -> bool:
    """Whether `replacement` can replace `op`. kept: the operations whose results must not be overwritten."""
    index = replacement.overwrites
    if index is not None and op.operand_source(index).get_defining_op().id() in kept:
        return False
    return replacement.fits(op) and not (replacement.native and why_missing())


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
