"""Runs a command that ends with the process that started it, even if a SIGKILL ended that process. Linux only.

    python -I -S orphans.py PID COMMAND ...

PID: the starting process. When it ends, the kernel sends the command SIGTERM, after which a training saves and ends. A file of
its own, run before anything else is imported: code between fork and exec in a process with threads could hang.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def become(parent: int, command: list[str]) -> None:
    """Replace this process by `command`, which SIGTERM ends when `parent` ends. If it has ended already, exit."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], command)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
