"""Casts of a forward program to a half type, by Paddle's own mixed precision. One function for each side of the seam."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import paddle
from paddle import _C_ops

from ppema.ir.base import Program, Variable, dtype_name
from ppema.ir.kinds import NORM_KINDS

# Paddle names an operation with and without the underscore of in-place operations.
_BLACK = {*NORM_KINDS, *(f"{kind}_" for kind in NORM_KINDS)}
# In-place operations of Paddle 3 that `auto_cast` does not reach. Their first operand is the batch.
_UNREACHED = ("batch_norm_", "sync_batch_norm_")


@contextmanager
def autocast_pir(dtype: Any) -> Iterator[None]:
    """`IR.autocast` on Paddle 3."""
    before = {name: getattr(_C_ops, name) for name in _UNREACHED}
    try:
        for name, operation in before.items():
            setattr(_C_ops, name, _in_float32(operation, dtype))
        with paddle.amp.auto_cast(custom_black_list=_BLACK, level="O1", dtype=dtype):
            yield
    finally:
        for name, operation in before.items():
            setattr(_C_ops, name, operation)


def _in_float32(operation: Callable[..., Any], dtype: str) -> Callable[..., Any]:
    """`operation`, which casts a first operand of the type `dtype` to float32 before."""

    def call(batch: Variable, *operands: Any) -> Any:
        return operation(paddle.cast(batch, "float32") if dtype_name(batch) == dtype else batch, *operands)

    return call


@contextmanager
def autocast_legacy(main: Program, dtype: str) -> Iterator[None]:
    """`IR.autocast` on Paddle 2.6, whose `auto_cast` needs a dynamic graph. Leaving the context inserts the casts."""
    from paddle.static.amp.fp16_utils import cast_model_to_fp16

    yield
    lists = paddle.static.amp.AutoMixedPrecisionLists(custom_black_list=_BLACK, dtype=dtype)
    if not paddle.is_compiled_with_cuda():
        # A CPU build lists every operation as unsupported on a GPU.
        lists.unsupported_list = set()
    cast_model_to_fp16(main, lists, use_fp16_guard=False, dest_type=getattr(paddle, dtype), level="O1")
