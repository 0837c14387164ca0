"""Runs one side of a benchmark in a separate process: python -m benchmarks.child MODULE:FUNCTION [ARGUMENTS AS JSON]

The function is a context manager that yields the work to be timed. Each line of stdin is a number n. The answer is a line of
stdout: the mean seconds of one call, over n calls after a warm-up. The process ends at the end of stdin.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from ppema.environment import choose_threads, load_paddle

TORCH = "benchmarks.torch_side"
NUMPY = "benchmarks.numpy_side"


def main() -> None:
    """Serve answers on stdout. Output of libraries goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, name = sys.argv[1].partition(":")
    choose_threads("auto")
    # Paddle and PyTorch have different OpenMP runtimes, whose threads would compete in one process.
    if module not in (TORCH, NUMPY):
        load_paddle()
    builder = getattr(importlib.import_module(module), name)
    with builder(*json.loads(sys.argv[2])) as work:
        try:
            serve(work, sys.stdin, answers)
        except BrokenPipeError:
            os._exit(1)  # the parent process has ended: exit silently


def serve(work: Callable[[], object], questions: TextIO, answers: TextIO) -> None:
    """Answer every number in `questions` until there are no more."""
    for question in questions:
        count = int(question)
        # After the other sides' turns threads sleep and caches are cold. A tenth of the calls warms them up.
        for _ in range(count // 10 + 1):
            work()
        begin = time.perf_counter()
        for _ in range(count):
            work()
        print((time.perf_counter() - begin) / count, file=answers, flush=True)


if __name__ == "__main__":
    main()
