"""Measures the memory of one side's steps in a new process: python -m benchmarks.footprint MODULE:FUNCTION [ARGUMENTS AS JSON]

At its end it prints a JSON object of bytes. resident: the largest resident memory in the steps, beyond that after the imports.
live: the largest sum of the library's own buffers, the state of the run among them.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from benchmarks.child import TORCH
from ppema.environment import choose_threads, load_paddle

STEPS = 5  # the first ones also allocate what stays


def main() -> None:
    """Output of libraries goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, name = sys.argv[1].partition(":")
    choose_threads("auto")
    if module != TORCH:
        load_paddle()
    builder = partial(getattr(importlib.import_module(module), name), *json.loads(sys.argv[2]))
    imported = _status("VmRSS")
    with builder() as work:
        # Building programs takes more for a while. Where the peak can not be reset, it counts.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        for _ in range(STEPS):
            work()
        resident = _status("VmHWM") - imported
    live = _live_of_torch(builder) if module == TORCH else _live_of_paddle()
    print(json.dumps({"resident": resident, "live": live}), file=answers, flush=True)


def _status(key: str) -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(f"{key}:"))


def _live_of_paddle() -> int:
    """By the statistics of Paddle's allocator: the peak of the process so far."""
    from paddle.base import core

    return core.host_memory_stat_peak_value("Allocated", 0)


def _live_of_torch(builder: Callable[[], AbstractContextManager[Callable[[], object]]]) -> int:
    """By the events of PyTorch's profiler, of another model and its steps: the largest sum of allocations and releases."""
    import torch  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiling = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
        with profiling as found, builder() as work:
            for _ in range(STEPS):
                work()
        found.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((each for each in events if each["name"] == "[memory]"), key=lambda each: each["ts"])
    return max(itertools.accumulate(each["args"]["Bytes"] for each in changes))


if __name__ == "__main__":
    main()
