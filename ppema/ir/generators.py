"""Paddle's generators of random numbers."""

from __future__ import annotations

import paddle
from paddle.base import core


def seed(value: int) -> None:
    """Seed the generators of this process. `paddle.seed` does the same, but on a CPU spends 4 µs on a search for devices."""
    if paddle.is_compiled_with_cuda():
        paddle.seed(value)
    else:
        core.default_cpu_generator().manual_seed(value)
