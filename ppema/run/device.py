"""The device a run computes on."""

from __future__ import annotations

from typing import Any

import paddle

from ppema.errors import SetupError


def place_of(device: str) -> Any:
    """The paddle place for "auto" (a GPU where there is one), "cpu", "gpu" or "gpu:N". Raises SetupError without that GPU.

    An Executor on a GPU that is not there ends the whole process, so they are counted first.
    """
    gpus = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if device == "cpu" or (device == "auto" and not gpus):
        return paddle.CPUPlace()
    index = int(device.partition(":")[2] or 0)
    if index >= gpus:
        reason = f"this machine has {gpus}" if paddle.is_compiled_with_cuda() else "the installed paddle is a CPU build"
        raise SetupError(f"runtime.device: {device}: there is no such GPU: {reason}; use device: cpu or auto")
    return paddle.CUDAPlace(index)
