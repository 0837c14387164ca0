"""The benchmark of ranks: its figures, and the end of its processes. No test depends on a speed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from benchmarks import job, parallel, peer
from benchmarks.job import Shape, started
from benchmarks.parallel_side import CASES
from ppema.cli.benchmark import main
from ppema.errors import TrainingError

MARK = "PPEMA_TEST_MARK"


@pytest.fixture
def left(monkeypatch):
    """Counts the processes that this test started and that still run."""
    mark = f"{MARK}={uuid.uuid4().hex}".encode()
    monkeypatch.setenv(*mark.decode().split("="))

    def count() -> int:
        found = 0
        for each in Path("/proc").glob("[0-9]*"):
            try:
                # The variables of this process are those of its start, without the mark. Those of a zombie are empty.
                found += mark in (each / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
        return found

    return count


@pytest.fixture
def quick(monkeypatch):
    """Short rounds without a rest between them."""
    monkeypatch.setattr(job, "QUIET", 0.0)
    monkeypatch.setattr(parallel, "ROUND_SECONDS", 0.001)


@pytest.mark.campaign
def test_ranks_are_measured_beside_threads(quick, left, monkeypatch, capsys):
    """By the command line, as a user does; the smallest of the cases."""
    monkeypatch.setattr(parallel, "CASES", {"digits": CASES["digits"]})
    monkeypatch.setattr(parallel, "OF_BUCKETS", "digits")
    assert main(["parallel", "--threads", "1", "--rounds", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    title = "digits CNN, 32 x 8^2"
    assert [(each["name"], each["kind"]) for each in found] == [
        (f"{title}: samples/s of 2 ranks", "speed"),
        (f"{title}: samples/s of one process, 2 threads", "speed"),
        (f"{title}: samples/s of 4 ranks", "speed"),
        (f"{title}: a step of 2 ranks", "ratio"),
        # 4 bytes for each of 5,178 weights, 96 statistics and 3 signals.
        (f"{title}: the sums of a step alone, 0.0211 MB", "time"),
        (f"{title}: the sums in buckets of 1 MiB", "ratio"),
        (f"{title}: the sums in buckets of 4 MiB", "ratio"),
    ]
    assert all(len(each["ours"]) == 5 and min(each["ours"]) > 0 for each in found)
    assert left() == 0


@pytest.mark.campaign
def test_a_process_that_can_not_work_ends_the_job_and_says_why(left):
    with pytest.raises(TrainingError, match=r"^a process of benchmarks\.ours:nothing ended with 1\n.*no attribute 'nothing'"):
        with started("benchmarks.ours:nothing", Shape(2, together=False)):
            pass
    assert left() == 0


@pytest.mark.campaign
def test_a_rank_that_can_not_work_ends_the_job_and_says_why(left):
    with pytest.raises(TrainingError, match=r"(?s)^a process of .* ended with .*process 1: .*no attribute 'nothing'"):
        with started("benchmarks.ours:nothing", Shape(2)):
            pass
    assert left() == 0


@pytest.mark.campaign
def test_ranks_end_with_the_process_that_asks_them(left, tmp_path):
    """Even if that one is killed, which can not clean up."""
    script = (
        "import time\nfrom benchmarks.job import Shape, started\n"
        "with started('benchmarks.parallel_side:step', Shape(2), 'digits', 2) as job:\n"
        "    print(job.seconds(1), flush=True)\n    time.sleep(600)"
    )
    path = os.pathsep.join(filter(None, (str(peer.ROOT), os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        assert float(process.stdout.readline()) > 0
        assert left() >= 4  # the process, the launcher and its ranks
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while left() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left() == 0
