"""One side of a benchmark in a process of its own: python -m benchmarks.child MODULE:FUNCTION [ARGUMENTS AS JSON]

The function is a context manager that gives the work to be timed. Each line of stdin is a number n; the answer, a line of
stdout, is the seconds of one call in n, taken together after a few that do not count. It ends when stdin does.
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
    """Everything that libraries print goes to stderr; stdout is for the answers."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, name = sys.argv[1].partition(":")
    choose_threads("auto")
    # Each library alone: Paddle and PyTorch bring different OpenMP runtimes, whose threads would be in each other's way.
    if module not in (TORCH, NUMPY):
        load_paddle()
    builder = getattr(importlib.import_module(module), name)
    with builder(*json.loads(sys.argv[2])) as work:
        try:
            serve(work, sys.stdin, answers)
        except BrokenPipeError:
            os._exit(1)  # whoever asked has gone: nobody is to hear of it


def serve(work: Callable[[], object], questions: TextIO, answers: TextIO) -> None:
    """Answer every number in `questions` until there are no more."""
    for question in questions:
        count = int(question)
        # Threads that sleep and caches that are cold after the others' turn: a tenth of the calls wakes them.
        for _ in range(count // 10 + 1):
            work()
        begin = time.perf_counter()
        for _ in range(count):
            work()
        print((time.perf_counter() - begin) / count, file=answers, flush=True)


if __name__ == "__main__":
    main()
