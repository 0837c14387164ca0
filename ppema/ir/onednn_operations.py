"""Single operations of a Paddle 3 program on oneDNN, Intel's library of kernels for CPUs.

Paddle's own switch, FLAGS_use_onednn, is global: it is read whenever a program is prepared for its first run, moves every
operation that oneDNN knows, and some of those are slower there, wrong or crash. So it stays off, and what Paddle does with one
operation under it is done here to chosen ones: on a copy of the program Paddle's `onednn_placement_pass` makes a twin of each
operation, "onednn_op.conv2d" of "pd_op.conv2d", and the twin is cloned into the program in the place of the operation.

A twin's results are in a layout of oneDNN's own. An operation outside oneDNN that reads one has it converted first, each reader
anew and, within a branch, perhaps not at all. So one operation that shares data stands behind each result, and is all that ever
reads it: behind that, everything is laid out as numpy has it.

How oneDNN's results are laid out then is no property of a program but a state of the thread, in which any program with channels
last, on oneDNN or not, leaves that they are last; later programs would fail, or compute with wrong numbers. So nothing of a
program with channels last is placed, and `settle` comes before every run.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import paddle
from paddle import _C_ops

from ppema.environment import NEWEST_PIR, OLDEST_PIR, release
from ppema.ir.base import Program, Variable
from ppema.ir.quicken import is_plain

_NATIVE, _PLACED = "pd_op.", "onednn_op."
_CHANNELS_LAST = ("NHWC", "NDHWC", "NWC", "NLC")
_CHANNELS_FIRST = 2  # NCHW among common::DataLayout
_OF_THREAD = "_ZN3phi25OneDNNContextThreadLocals5fetchEv"
_PUT_LAYOUT = "_ZN3phi25OneDNNContextThreadLocals4Body26set_cur_paddle_data_layoutEN6common10DataLayoutE"


@lru_cache(maxsize=1)
def hindrance() -> str | None:
    """Why no operation can be placed, None where it can be: tried on a convolution."""
    if not OLDEST_PIR <= release(paddle.__version__) <= NEWEST_PIR:
        return f"it was checked with paddle 3.0 to 3.3, and this is {paddle.__version__}"
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        images, weights = (paddle.static.data(name, [1, 1, 1, 1], "float32") for name in ("images", "weights"))
        paddle.nn.functional.conv2d(images, weights)
    try:
        placed = _thread_layout() and place(program, ["conv2d"], [])
    except Exception:  # whatever a build without it lacks
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


def settle() -> None:
    """As `base.IR.settle`."""
    if layout := _thread_layout():
        of_thread, put = layout
        put(of_thread(), _CHANNELS_FIRST)


@lru_cache(maxsize=1)
def _thread_layout() -> tuple[Callable[[], int], Callable[[int, int], None]] | None:
    """What gives this thread's state, and what writes the layout in it, that oneDNN's results are brought into.

    Python has no other way to it: by the names that C++ gives them, as of Paddle 3.0 to 3.3; None where they are not there.
    """
    try:
        library = ctypes.CDLL(str(Path(paddle.sysconfig.get_lib()) / "libphi_core.so"))
        of_thread, put = library[_OF_THREAD], library[_PUT_LAYOUT]
    except (OSError, AttributeError):
        return None
    of_thread.restype, put.restype, put.argtypes = ctypes.c_void_p, None, (ctypes.c_void_p, ctypes.c_int)
    return of_thread, put


def _placed_copy(program: Program) -> Program:
    """A copy of `program` with every operation placed that can be; its operations live as long as it does."""
    _load_dialect()
    copy = program.clone(paddle.pir.IrMapping())
    passes = paddle.pir.PassManager()
    passes.add_pass("onednn_placement_pass", {})
    passes.run(copy)
    return copy


@lru_cache(maxsize=1)
def _load_dialect() -> None:
    # Until a first program is prepared for running Paddle does not know oneDNN's operations: the pass leaves all as they are.
    paddle.static.Executor(paddle.CPUPlace()).run(paddle.static.Program())


def _replace(op, twin) -> None:
    """Put a clone of `twin`, which reads what `op` reads, in the place of `op`."""
    mapping = paddle.pir.IrMapping()
    for theirs, ours in zip(twin.operands_source(), op.operands_source(), strict=True):
        mapping.add(theirs, ours)
    paddle.pir.set_insertion_point(op)
    clone = twin.clone(mapping, paddle.pir.CloneOptions(False, True, False))
    if clone.has_attr("is_test"):
        # The pass is made for inference. In test mode gradients are refused, and the kernel keeps a reordered copy of the
        # weights of the first run, for ever: a test program would go on evaluating those.
        clone.set_bool_attr("is_test", False)
    for old, new in zip(op.results(), clone.results(), strict=True):
        # That of an input which needs no gradient is not there.
        if old.initialized():
            dense = _C_ops.share_data(new)
            dense.stop_gradient = old.stop_gradient
            old.replace_all_uses_with(dense)
    op.get_parent_block().remove_op(op)
