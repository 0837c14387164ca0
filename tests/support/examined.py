"""Checks that fail in every way that a check can: functions for `ppema.diagnosis.checklist.Check`."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

from ppema.diagnosis.finding import Finding


def passes(device: str) -> Finding:
    return Finding("ok", f"process {os.getpid()} on {device}")


def caches(device: str) -> Finding:
    return Finding("ok", os.environ.get("XDG_CACHE_HOME", "the user's"))


def raises(device: str) -> Finding:
    raise ValueError("two lines\nof text")


def aborts(device: str) -> Finding:
    print("terminate called\n  what():  no kernel image\nmore", file=sys.stderr, flush=True)
    os.abort()


def reads_nowhere(device: str) -> Finding:
    return Finding("ok", ctypes.string_at(1).decode())


def leaves(device: str) -> Finding:
    sys.exit(7)


def hangs(device: str) -> Finding:
    """Starts a process that would go on, too."""
    child = subprocess.Popen(["/bin/sleep", "300"])
    Path("child.txt").write_text(str(child.pid))
    while True:
        time.sleep(60)
