"""Runs commands, and leaves no process behind, whatever happens. A script of its own: `python guarded.py SECONDS COMMANDS`.

COMMANDS is JSON: a list of {"argv": [...], "output": file}. The script prints the process ids of the commands. It waits until
they have ended, and every process that any of them started, in whatever session; then it prints the exit codes of the commands.
After SECONDS it waits no longer, nor once its standard input has closed because the process that started it has ended: it
prints the codes, with null for what still runs, and kills all those processes.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_CHILD_SUBREAPER = 36  # of prctl: orphans below this process become its children


def descendants(pid: int) -> list[int]:
    """The processes below `pid` that run, in no order. Zombies are left out."""
    children: dict[int, list[int]] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                state, parent = (each / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            except OSError:
                continue
            children.setdefault(int(parent), []).append(int(each.name) if state not in "ZX" else -int(each.name))
    found, new = [], [pid]
    while new:
        below = children.get(new.pop(), [])
        found += [each for each in below if each > 0]
        new += [abs(each) for each in below]
    return found


def _kill_all() -> None:
    while found := descendants(os.getpid()):
        for each in found:
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)


def main() -> int:
    ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    end, started = time.monotonic() + float(sys.argv[1]), []
    try:
        for each in json.loads(sys.argv[2]):
            with open(each["output"], "wb") as output:
                streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
                started.append(subprocess.Popen(each["argv"], **streams, start_new_session=True))
        print(json.dumps([each.pid for each in started]), flush=True)
        while any(each.poll() is None for each in started) or descendants(os.getpid()):
            closed, _, _ = select.select([sys.stdin], [], [], 0.05)
            if closed or time.monotonic() > end:
                break
        left = len(descendants(os.getpid()))
        print(json.dumps({"codes": [each.poll() for each in started], "left": left}), flush=True)
    finally:
        _kill_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
