"""Runs of several ranks by the command line: they go on with other numbers of ranks, and stop together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.launched import ROOT, launch, launching
from support.runs import last, losses

CONFIG = """
model: {name: mlp, args: {in_features: 64, num_classes: 10}}
data:
  train: {name: digits, split: train, batch_size: 64, shuffle: true}
  eval: {name: digits, split: test, batch_size: 100}
optimizer: {name: Adam}
lr: {name: CosineAnnealingDecay, args: {learning_rate: 0.01, T_max: 100 %}}
averages:
  ema: {decay: 0.9}
train: {epochs: 3, monitor: ema/accuracy, save_every: 10 steps, log_every: 5 steps}
"""
SCRIPT = str(ROOT / "tools" / "train.py")


def arguments(folder: Path, *overrides: str) -> list[str]:
    (folder / "config.yml").write_text(CONFIG)
    return [SCRIPT, "-c", str(folder / "config.yml"), "-o", f"output={folder / 'run'}", *overrides]


def alone(argv: list[str], folder: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *argv], cwd=folder, env=env, check=True, capture_output=True)


def arrays(output: Path) -> dict[str, np.ndarray]:
    return {
        f"{path.name}|{name}": array for path in last(output).glob("*.safetensors") for name, array in load_file(path).items()
    }


@pytest.mark.campaign
@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_run_goes_on_with_other_numbers_of_ranks(tmp_path, accumulate):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for each in (whole, parts):
        each.mkdir()
    given = f"train.accumulate={accumulate}"
    alone(arguments(whole, given), whole)
    stops = [5, 10] if accumulate > 1 else [20, 40]
    for ranks, stop in zip((2, 3), stops, strict=True):
        job = launch(ranks, arguments(parts, given, f"train.stop_after={stop} steps"), cwd=parts)
        assert job.code == 0, job.outputs
    alone(arguments(parts, given), parts)
    ours, theirs = arrays(parts / "run"), arrays(whole / "run")
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=0, atol=1e-6, err_msg=name)
    # As if nothing had happened in between: each interval is logged once, with the loss of its steps.
    for (step, loss), wanted in zip(losses(parts / "run"), losses(whole / "run"), strict=True):
        assert (step, loss) == (wanted[0], pytest.approx(wanted[1], abs=1e-6))


@pytest.mark.campaign
def test_all_ranks_stop_after_the_same_step_and_go_on(tmp_path):
    """The signal reaches one rank only, which is not the one that saves."""
    argv = arguments(tmp_path, "train.epochs=2000")
    with launching(2, argv, cwd=tmp_path) as job:
        job.wait_for("epoch 3.00")
        os.kill(job.pid(1), signal.SIGTERM)
        ended = job.end()
    assert ended.code != 0 and ended.left == 0
    assert "stopped by signal 15 after step" in ended.outputs[0]
    stopped = int((tmp_path / "run" / "checkpoints" / "last").read_text().split("-")[1].split()[0])
    job = launch(2, [*argv, f"train.stop_after={stopped + 10} steps"], cwd=tmp_path)
    assert job.code == 0, job.outputs
    assert f"resuming at step {stopped} of" in job.outputs[0]


SLOW = """
import sys, time
from ppema.checkpoint.store import Checkpoints
from ppema.cli.train import main

save = Checkpoints.save
def slowly(*arguments):
    print("saving", flush=True)
    time.sleep(6)
    return save(*arguments)
Checkpoints.save = slowly
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.campaign
def test_no_rank_ends_before_the_first_one_has_saved(tmp_path):
    """The launcher kills the other ranks some seconds after one has ended."""
    (tmp_path / "slow.py").write_text(SLOW)
    _, *argv = arguments(tmp_path, "train.epochs=2000", "train.save_every=1000000 steps")
    with launching(2, [str(tmp_path / "slow.py"), *argv], cwd=tmp_path) as job:
        job.wait_for("epoch 1.00", timeout=100)
        os.kill(job.pid(1), signal.SIGTERM)
        ended = job.end()
    assert "stopped by signal 15 after step" in ended.outputs[0], ended.outputs
    assert last(tmp_path / "run").exists()
