"""A run whose data blocks, or whose data worker is killed, saves what it has trained and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.configs import loader

from ppema.checkpoint.store import Checkpoints

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.campaign


@contextmanager
def trained_for_20_steps(folder, workers):
    """The process of a run that has evaluated step 20. Its data blocks while the file `flag` in `folder` exists."""
    loader(folder)()
    data = f"data.train={{name: support.datasets.Blocks, args: {{flag: {folder / 'flag'}}}, batch_size: 8, workers: {workers}}}"
    length = ("train.epochs=1000", "train.save_every=1000 epochs", "train.eval_every=20 steps", "train.monitor=null", "lr=0.01")
    overrides = [part for override in (data, *length, f"output={folder / 'run'}") for part in ("-o", override)]
    command = [sys.executable, str(ROOT / "tools/train.py"), "-c", str(folder / "small.yml"), *overrides]
    environment = {"PYTHONPATH": str(ROOT / "tests"), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    guard = threading.Timer(120, process.kill)
    guard.start()
    try:
        next(line for line in process.stderr if line.startswith("step 20/"))
        yield process
    finally:
        guard.cancel()
        process.kill()
        process.communicate(timeout=30)


def children(pid):
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has ended
            if each.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(int(each.parent.name))
    return found


def saved_step(folder):
    return Checkpoints(folder / "run/checkpoints").find("last").manifest.state.step


@pytest.mark.parametrize("workers", [0, 2])
def test_a_signal_is_answered_while_a_sample_blocks(tmp_path, workers):
    with trained_for_20_steps(tmp_path, workers) as process:
        (tmp_path / "flag").touch()
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 143, said
    assert time.monotonic() - began < 20
    assert "stopping after SIGTERM: the run saves first; again ends it at once\n" in said
    assert f"stopped by signal 15 after step {saved_step(tmp_path)}, which is saved" in said
    assert saved_step(tmp_path) >= 20


def test_a_killed_worker_is_a_failure_that_loses_no_step(tmp_path):
    with trained_for_20_steps(tmp_path, 1) as process:
        (worker,) = [each for each in children(process.pid) if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]
        os.kill(worker, signal.SIGKILL)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 1, said
    line = said.rstrip().rpartition("\n")[2]
    assert "data.train: worker 0 was killed by SIGKILL (out of memory?) while it " in line
    assert line.endswith(f"The state after step {saved_step(tmp_path)} is saved: the same command goes on from there")
    assert saved_step(tmp_path) >= 20
