"""A checkpoint of one Paddle on the other: loaded, evaluated and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
LAST = "checkpoints/step-00000095/average-fast_start.safetensors"
OTHER = os.environ.get("PPEMA_OTHER_PYTHON", "")

pytestmark = pytest.mark.skipif(not OTHER, reason="PPEMA_OTHER_PYTHON names no Python with the other Paddle (see noxfile.py)")


def tool(python: str, name: str, *arguments: str, cwd: Path):
    """The JSON that a tool prints, run by `python`."""
    config = ["-c", str(ROOT / "configs/digits_cnn.yml"), "-o", "model.args.dropout=0.0"]
    command = [python, str(ROOT / f"tools/{name}.py"), *config, *arguments, "--json"]
    bare = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, env=bare, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for weights, metrics in ours.items():
        for name, value in metrics.items():
            assert abs(value - theirs[weights][name]) <= 1e-5 * max(1, abs(value)), (weights, name)


@pytest.mark.parametrize(("first", "second"), [(sys.executable, OTHER), (OTHER, sys.executable)], ids=["to", "from"])
@pytest.mark.parametrize("optimizer", ["Momentum", "Adam", "AdamW", "Lamb"])
def test_a_checkpoint_of_one_version_goes_on_with_the_other(tmp_path, first, second, optimizer):
    # Without dropout, whose random numbers each version draws in its own way.
    rate = 0.1 if optimizer == "Momentum" else 0.003
    same = [
        "-o",
        f"optimizer={optimizer}",
        "-o",
        "averages.fast_start.precision=compensated",
        "-o",
        f"lr={{name: CosineAnnealingWarmRestarts, args: {{learning_rate: {rate}, T_0: 30}}}}",
    ]
    trained = tool(first, "train", *same, "-o", "train.stop_after=90 steps", cwd=tmp_path)
    close(tool(second, "eval", *same, cwd=tmp_path), trained["metrics"])
    checkpoint = str(tmp_path / "runs/digits_cnn/checkpoints/step-00000090")
    resumed = []
    for index, python in enumerate((first, second)):
        arguments = [*same, "--resume", checkpoint, "-o", f"output={tmp_path / str(index)}", "-o", "train.stop_after=95 steps"]
        resumed.append(tool(python, "train", *arguments, cwd=tmp_path))
        assert resumed[-1]["step"] == 95
    close(resumed[0]["metrics"], resumed[1]["metrics"])
    for index in (0, 1):
        saved = load_file(tmp_path / str(index) / LAST)
        assert [int(value) for name, value in saved.items() if name.endswith("/count")] == [95]
