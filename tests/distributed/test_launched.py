"""The jobs of the tests leave no process behind. Here a shell takes the place of Paddle's launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from support.guarded import descendants
from support.launched import ROOT, launching

# Starts a process in a session of its own, which ignores SIGTERM, and one more below a parent that ends.
STUBBORN = ("bash", "-c", "trap '' TERM; setsid sleep 321 & (setsid sleep 322 &) ; sleep 323")


def below(pid: int, count: int) -> list[int]:
    """The processes below `pid`, once there are `count`."""
    end = time.monotonic() + 20
    while len(found := descendants(pid)) < count:
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def gone(pids: list[int]) -> bool:
    """Whether the processes end within some seconds."""
    end = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{each}") for each in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_nothing_is_left_after_a_timeout(tmp_path):
    with launching(1, ["script"], cwd=tmp_path, timeout=0.5, launcher=STUBBORN) as job:
        left = below(job.guard, 3)
        ended = job.end()
    assert (ended.code, ended.left) == (None, 3) and ended.seconds < 5
    assert gone(left)


def test_nothing_is_left_after_an_error_in_the_block(tmp_path):
    left: list[int] = []

    def interrupted():
        with launching(1, ["script"], cwd=tmp_path, launcher=STUBBORN) as job:
            left.extend(below(job.guard, 3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert gone(left)


def test_nothing_is_left_when_the_process_of_the_tests_is_killed(tmp_path):
    script = f"""
        import sys, time
        from pathlib import Path
        from support.launched import launching
        with launching(1, ["script"], cwd=Path(sys.argv[1]), launcher={STUBBORN!r}) as job:
            time.sleep(60)
    """
    path = f"{ROOT / 'tests'}{os.pathsep}{ROOT}"
    argv = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    tests = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": path})
    left = below(tests.pid, 4)
    os.kill(tests.pid, signal.SIGKILL)
    tests.wait()
    assert gone(left)


def test_a_job_ends_with_its_last_process(tmp_path):
    with launching(1, ["script"], cwd=tmp_path, launcher=("bash", "-c", "(setsid sleep 0.6 &); exit 3")) as job:
        ended = job.end()
    assert (ended.code, ended.left) == (3, 0) and ended.seconds > 0.5
