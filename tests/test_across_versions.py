"""A checkpoint of one Paddle on the other: loaded, evaluated and resumed; and Paddle's own files, read and written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.configs import CNN, write_config
from support.paddle_alone import predict_dynamic, predict_static, save_dynamic, save_static

ROOT = Path(__file__).parents[1]
LAST = "checkpoints/step-00000095/average-fast_start.safetensors"
STATISTICS = ("batch_norm2d_0.w_1", "batch_norm2d_0.w_2")
BARE = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
OTHER = os.environ.get("PPEMA_OTHER_PYTHON", "")

pytestmark = pytest.mark.skipif(not OTHER, reason="PPEMA_OTHER_PYTHON names no Python with the other Paddle (see noxfile.py)")


def tool(python: str, name: str, *arguments: str, cwd: Path):
    """The JSON that a tool prints, run by `python`."""
    config = ["-c", str(ROOT / "configs/digits_cnn.yml"), "-o", "model.args.dropout=0.0"]
    command = [python, str(ROOT / f"tools/{name}.py"), *config, *arguments, "--json"]
    done = subprocess.run(command, cwd=cwd, env=BARE, capture_output=True, text=True, timeout=300, check=False)
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
        f"lr={{name: CosineAnnealingWarmRestarts, args: {{learning_rate: {rate}, T_0: 30 steps}}}}",
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
        assert [int(value) for name, value in saved.items() if name.endswith(".count")] == [95]


def small(python: str, name: str, *arguments: str, cwd: Path):
    """The JSON that a tool prints of the small config, run by `python`."""
    write_config(cwd / "small.yml", CNN)
    command = [python, str(ROOT / f"tools/{name}.py"), "-c", "small.yml", *arguments, "--json"]
    done = subprocess.run(command, cwd=cwd, env=BARE, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


BOTH = pytest.mark.parametrize(("first", "second"), [(sys.executable, OTHER), (OTHER, sys.executable)], ids=["to", "from"])


@BOTH
@pytest.mark.parametrize("save", [save_dynamic, save_static])
def test_a_file_of_one_paddle_is_what_a_run_on_the_other_begins_with(tmp_path, first, second, save):
    """One step at a rate too small to move any but a zero; BatchNorm's statistics do move, and are left out."""
    save(tmp_path / "x.pdparams", python=first)
    only = ["-o", "init_from.path=x.pdparams", "-o", "train.stop_after=1 step", "-o", "lr=1e-30"]
    small(second, "train", *only, cwd=tmp_path)
    found = load_file(tmp_path / "runs/small/checkpoints/step-00000001/raw.safetensors")
    manifest = json.loads((tmp_path / "runs/small/checkpoints/step-00000001/manifest.json").read_text())
    names = manifest["structured"] if save is save_dynamic else {name: name for name in found}
    theirs = np.load(tmp_path / "x.pdparams.npz")
    weights = [name for name in theirs.files if name not in ("1._mean", "1._variance", *STATISTICS)]
    assert len(weights) == 5
    assert all(np.abs(found[names[name]] - theirs[name]).max() < 1e-25 for name in weights)


@BOTH
@pytest.mark.parametrize(("names", "predict"), [("places", predict_dynamic), ("variables", predict_static)])
def test_an_export_of_one_paddle_predicts_the_same_on_both(tmp_path, first, second, names, predict):
    small(first, "train", cwd=tmp_path)
    small(first, "export", "--to", "ema.pdparams", "--weights", "ema", "--names", names, cwd=tmp_path)
    np.save(tmp_path / "images.npy", np.random.default_rng(0).normal(size=(9, 1, 8, 8)).astype("float32"))
    for python in (first, second):
        predict(tmp_path / "ema.pdparams", tmp_path / "images.npy", tmp_path / f"{python == first}.npy", python=python)
    ours, theirs = (np.load(tmp_path / f"{each}.npy") for each in (True, False))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
