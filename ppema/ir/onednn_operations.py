"""Single operations of a Paddle 3 program on oneDNN, Intel's library of kernels for CPUs.

This module replaces chosen operations by oneDNN's. Paddle's `onednn_placement_pass`, applied to a copy of the program, makes a
twin of each operation that oneDNN supports: "onednn_op.conv2d" of "pd_op.conv2d". `place` clones the twin into the program in
place of the operation. Paddle's own switch, FLAGS_use_onednn, stays off. It is global, Paddle reads it when it prepares a
program for its first run, and it moves every operation that oneDNN supports. Some of these are slower there, wrong, or crash.

The results of a twin are in a layout of oneDNN's own. Each operation outside oneDNN that reads one converts it again. Inside a
branch the conversion may be missing. `place` therefore appends one operation that shares data to each result. It is the only
reader of the result, and its own result has numpy's layout.

The target layout of this conversion is thread-local state (`ppema.ir.onednn_layout`). Operations of a program with channels
last are never placed, and `settle` comes before every run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

import paddle
from paddle import _C_ops

from ppema.environment import NEWEST_PIR, OLDEST_PIR, release
from ppema.ir.base import Program, Variable
from ppema.ir.onednn_layout import can_settle
from ppema.ir.quick.quicken import is_plain

_NATIVE, _PLACED = "pd_op.", "onednn_op."
_CHANNELS_LAST = ("NHWC", "NDHWC", "NWC", "NLC")


@lru_cache(maxsize=1)
def hindrance() -> str | None:
    """Why no operation can be placed on oneDNN, in words; found by an attempt to place a convolution. None: it succeeded."""
    if not OLDEST_PIR <= release(paddle.__version__) <= NEWEST_PIR:
        return f"it was checked with paddle 3.0 to 3.3, and this is {paddle.__version__}"
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        images, weights = (paddle.static.data(name, [1, 1, 1, 1], "float32") for name in ("images", "weights"))
        paddle.nn.functional.conv2d(images, weights)
    try:
        placed = can_settle() and place(program, ["conv2d"], [])
    except Exception:  # a build without oneDNN may lack anything used here
        placed = None
    return None if placed else f"this build of paddle {paddle.__version__} has no oneDNN"


def place(program: Program, kinds: Collection[str], fetched: Sequence[Variable]) -> Counter[str]:
    """As `base.IR.place_on_onednn`."""
    kept = {value.get_defining_op().id() for value in fetched}
    placed: Counter[str] = Counter()
    with paddle.static.program_guard(program, paddle.static.Program()):
        twins = _placed_copy(program)
        for op, twin in zip(program.global_block().ops, twins.global_block().ops, strict=True):
            kind = op.name().removeprefix(_NATIVE)
            if kind in kinds and twin.name() == _PLACED + kind and op.id() not in kept and is_plain(op):
                _replace(op, twin)
                placed[kind] += 1
    return placed


def channels_last(program: Program) -> str | None:
    """As `base.IR.channels_last`."""
    return next(_with_channels_last(program.global_block()), None)


def _with_channels_last(block) -> Iterator[str]:
    for op in block.ops:
        if any(value in _CHANNELS_LAST for value in op.attrs().values() if isinstance(value, str)):
            yield op.name().removeprefix(_NATIVE)
        for inner in op.blocks():
            yield from _with_channels_last(inner)


def _placed_copy(program: Program) -> Program:
    """A copy of `program` with every operation on oneDNN that oneDNN supports. Its operations live as long as the copy."""
    _load_dialect()
    copy = program.clone(paddle.pir.IrMapping())
    passes = paddle.pir.PassManager()
    passes.add_pass("onednn_placement_pass", {})
    passes.run(copy)
    return copy


@lru_cache(maxsize=1)
def _load_dialect() -> None:
    # Paddle loads oneDNN's operations when it prepares a first program for running. Before that the pass has no effect.
    paddle.static.Executor(paddle.CPUPlace()).run(paddle.static.Program())


def _replace(op, twin) -> None:
    """Replace `op` by a clone of `twin` with the operands of `op`."""
    mapping = paddle.pir.IrMapping()
    for theirs, ours in zip(twin.operands_source(), op.operands_source(), strict=True):
        mapping.add(theirs, ours)
    paddle.pir.set_insertion_point(op)
    clone = twin.clone(mapping, paddle.pir.CloneOptions(False, True, False))
    if clone.has_attr("is_test"):
        # The pass is made for inference. A kernel in test mode refuses gradients, and keeps a reordered copy of the weights of
        # its first run: a test program would evaluate those forever.
        clone.set_bool_attr("is_test", False)
    for old, new in zip(op.results(), clone.results(), strict=True):
        # The gradient of an input that needs none is not initialized.
        if old.initialized():
            dense = _C_ops.share_data(new)
            dense.stop_gradient = old.stop_gradient
            old.replace_all_uses_with(dense)
    op.get_parent_block().remove_op(op)
