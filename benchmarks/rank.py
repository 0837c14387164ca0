"""Runs one process of a job that a benchmark measures: python -m benchmarks.rank PORT MODULE:FUNCTION [ARGUMENTS AS JSON]

The function is a context manager that yields the work to be timed. The process connects to PORT of this machine as soon as the
work is ready, and sends its process id. Each line that it gets is a number n. The answer is the mean seconds of one call, over
n calls after a warm-up. The process ends when the connection does, for whatever reason.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys

from benchmarks.child import serve
from ppema.environment import choose_threads, load_paddle


def main() -> None:
    """Serve answers until the connection ends."""
    choose_threads("auto")
    load_paddle()
    module, _, name = sys.argv[2].partition(":")
    builder = getattr(importlib.import_module(module), name)
    with (
        builder(*json.loads(sys.argv[3])) as work,
        socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as link,
        link.makefile("r") as questions,
        link.makefile("w") as answers,
    ):
        print(os.getpid(), file=answers, flush=True)
        try:
            serve(work, questions, answers)
        except OSError:
            os._exit(1)  # the parent process has ended: exit silently


if __name__ == "__main__":
    main()
