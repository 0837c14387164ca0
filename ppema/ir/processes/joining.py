"""Connects the processes that Paddle's launcher started."""

from __future__ import annotations

import contextlib
import io
import os
import socket

import paddle
from paddle import distributed

_LOOPBACK = "lo"


def join(*, near: bool) -> None:
    """Create the communicator of all ranks, ring 0, by which static programs sum. Idempotent. Paddle stays in static mode.

    near: whether all ranks are on this machine. gloo then listens on the loopback interface only.
    """
    if distributed.is_initialized():
        return
    if near and _LOOPBACK in (name for _, name in socket.if_nameindex()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK)
    paddle.disable_static()  # in static mode init_parallel_env returns without having connected
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Paddle lists flags, of its own too
            distributed.init_parallel_env()
        # NCCL makes its communicator in the first collective operation.
        distributed.barrier()
    finally:
        paddle.enable_static()
