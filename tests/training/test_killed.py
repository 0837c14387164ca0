"""Runs killed at random moments, also in the middle of a write, end with the bytes of an uninterrupted one."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.drawn import drawn, drawn_tags

from ppema.log.records import read_metrics

pytestmark = pytest.mark.campaign

ROOT = Path(__file__).parents[2]
KILLS = 20
CONFIG = Path(__file__).with_name("killed.yml")


def started(folder: Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    shutil.copy(CONFIG, folder / "small.yml")
    command = [sys.executable, str(ROOT / "tools/train.py"), "-c", "small.yml"]
    environment = {"PYTHONPATH": str(ROOT / "tests"), "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def wait_for_a_save(process: subprocess.Popen, run: Path) -> None:
    """Wait until the process has saved something, or has ended."""
    last = run / "checkpoints/last"
    before = last.read_bytes() if last.exists() else b""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if last.exists() and last.read_bytes() != before:
            return
        time.sleep(0.001)


def left_half_written(run: Path) -> list[Path]:
    return list((run / "checkpoints").glob(".step-*")) + list((run / "snapshots").glob(".step-*"))


def files(run: Path) -> dict[str, bytes]:
    """All files of a run except its logs."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for part in ("checkpoints", "snapshots", "config.yml")
        for path in [run / part, *(run / part).rglob("*")]
        if path.is_file()
    }


# Figures that depend on the machine and its load.
OF_THE_MACHINE = ("samples_per_second", "data_wait", "seconds", "memory_mib")


def records(run: Path) -> list[dict]:
    return [{key: value for key, value in each.items() if key not in OF_THE_MACHINE} for each in read_metrics(run)]


def scalars(run: Path) -> dict[tuple[str, str], list[tuple[int, float]]]:
    return {
        (folder.name, tag): drawn(run, folder.name, tag)
        for folder in (run / "vdl").iterdir()
        for tag in drawn_tags(run, folder.name)
        if tag.removeprefix("train/") not in OF_THE_MACHINE
    }


def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path):
    undisturbed = started(tmp_path / "whole")
    _, said = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, said
    rng, run = random.Random(), tmp_path / "killed/run"
    kills = in_a_write = 0
    while kills < KILLS or in_a_write < 3:
        assert kills < 3 * KILLS, "no kill came while something was written"
        process = started(tmp_path / "killed")
        if kills % 5 == 4:
            time.sleep(rng.uniform(0, 2))
        else:
            wait_for_a_save(process, run)
            time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), said
        kills += 1
        in_a_write += bool(left_half_written(run))
    last = started(tmp_path / "killed")
    _, said = last.communicate(timeout=300)
    assert last.returncode == 0, said
    assert kills >= KILLS, f"the run ended after {kills} kills"
    whole = tmp_path / "whole/run"
    assert files(run).keys() == files(whole).keys()
    assert files(run) == files(whole)
    assert records(run) == records(whole)
    assert scalars(run) == scalars(whole)
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 14 * 60
