"""How much memory a process uses."""

from __future__ import annotations

import resource
import sys
from typing import Any

import paddle


def memory_figures(place: Any) -> dict[str, float]:
    """The figures of a log interval on memory, in MiB. place: the paddle place that computes.

    memory_mib: the largest resident memory of this process so far, without worker processes. gpu_memory_mib: the largest memory
    that Paddle's tensors took on the GPU so far, if that computes.
    """
    figures = {"memory_mib": peak_resident_bytes() / 2**20}
    if isinstance(place, paddle.CUDAPlace):
        figures["gpu_memory_mib"] = paddle.device.cuda.max_memory_allocated(place) / 2**20
    return figures


def peak_resident_bytes() -> int:
    """The largest resident memory of this process so far.

    On Linux, `getrusage` also counts the process that started this one, so /proc comes first.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else largest << 10
