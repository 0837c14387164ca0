"""Connects the processes that Paddle's launcher started."""

from __future__ import annotations

import contextlib
import io

import paddle
from paddle import distributed


def join() -> None:
    """Create the communicator of all ranks, ring 0, by which static programs sum. Idempotent. Paddle stays in static mode."""
    if distributed.is_initialized():
        return
    paddle.disable_static()  # in static mode init_parallel_env returns without having connected
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Paddle lists flags, of its own too
            distributed.init_parallel_env()
        # NCCL makes its communicator in the first collective operation.
        distributed.barrier()
    finally:
        paddle.enable_static()
