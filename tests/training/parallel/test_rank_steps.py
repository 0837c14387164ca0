"""Several ranks compute what one process computes with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from support import trained_steps
from support.launched import ROOT, launch

CONFIG = """
model: {name: mlp, args: {in_features: 64, num_classes: 10, hidden: [32]}}
data:
  train: {name: digits, split: train, batch_size: 48, shuffle: true}
  eval: {name: digits, split: test, batch_size: 256}
optimizer: {name: Adam}
lr: 1e-2
averages:
  ema: {decay: 0.9}
train: {epochs: 2}
"""
STEPS = 50  # an epoch has 31 steps; its last batch has 2 samples, fewer than there are ranks
BOUND = 1e-6


@dataclass(frozen=True)
class Trained:
    """arrays: after each step, by "part|name"; ranks: what each rank wrote."""

    arrays: list[dict[str, np.ndarray]]
    ranks: list[dict]


def trained(folder: Path, ranks: int, *overrides: str, steps: int = STEPS, nan: str = "-") -> Trained:
    (folder / "config.yml").write_text(CONFIG)
    argv = [
        trained_steps.__file__,
        str(folder / "config.yml"),
        str(folder),
        str(steps),
        nan,
        f"output={folder / 'run'}",
        *overrides,
    ]
    if ranks == 1:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *argv], cwd=folder, env=env, check=True)
    else:
        job = launch(ranks, argv, cwd=folder)
        assert job.code == 0, job.outputs
    arrays = [dict(np.load(folder / f"{step}.npz")) for step in range(1, steps + 1)]
    return Trained(arrays, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)])


def check_same(found: Trained, wanted: Trained) -> None:
    """Every rank is in the same state after each step, and it is that of one process within BOUND."""
    digests = [each["digests"] for each in found.ranks]
    assert all(each == digests[0] for each in digests)
    assert all(each["losses"] == found.ranks[0]["losses"] for each in found.ranks)
    np.testing.assert_allclose(found.ranks[0]["losses"], wanted.ranks[0]["losses"], rtol=0, atol=BOUND)
    assert found.ranks[0]["samples"] == wanted.ranks[0]["samples"]
    for ours, theirs in zip(found.arrays, wanted.arrays, strict=True):
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_allclose(array, theirs[name], rtol=0, atol=BOUND, err_msg=name)


def check_oracle(found: Trained, decay: float) -> None:
    """The average is that of the trajectory of the weights, in float64: Σ decay^(t-i)·w_i / Σ decay^(t-i)."""
    weights = [name for name in found.arrays[0] if name.startswith("raw|")]
    assert len(weights) == 4
    for name in weights:
        _, _, parameter = name.partition("|")
        total, divisor = 0.0, 0.0
        for step, skipped in zip(found.arrays, found.ranks[0]["skipped"], strict=True):
            if not skipped:
                total = decay * total + step[name].astype(np.float64)
                divisor = decay * divisor + 1.0
            average = step[f"average-ema|{parameter}.ema"]
            np.testing.assert_allclose(average, total / divisor, rtol=3e-6, atol=1e-7)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Trained:
    return trained(tmp_path_factory.mktemp("alone"), 1)


def test_two_ranks_compute_what_one_process_does(alone, tmp_path):
    found = trained(tmp_path, 2)
    check_same(found, alone)
    check_oracle(found, 0.9)


@pytest.mark.campaign
@pytest.mark.parametrize("ranks", [3, 4])
def test_more_ranks_compute_what_one_process_does(alone, tmp_path, ranks):
    found = trained(tmp_path, ranks)
    check_same(found, alone)
    check_oracle(found, 0.9)


@pytest.mark.campaign
@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["train.accumulate=4"], id="accumulation"),
        pytest.param(["loss.name=cross_entropy", "loss.args.class_weights=[1,2,3,4,5,1,2,3,4,5]"], id="weights"),
        pytest.param(
            ["train.accumulate=4", "loss.name=cross_entropy", "loss.args.class_weights=[1,2,3,4,5,1,2,3,4,5]"], id="both"
        ),
        pytest.param(["optimizer.clip_norm=0.1", "train.log_norms=true", "train.log_every=1 steps"], id="clipping"),
    ],
)
def test_three_ranks_sum_what_one_process_does(tmp_path, overrides):
    folders = tmp_path / "alone", tmp_path / "ranks"
    for each in folders:
        each.mkdir()
    wanted, found = (trained(folder, ranks, *overrides, steps=16) for folder, ranks in zip(folders, (1, 3), strict=True))
    check_same(found, wanted)


@pytest.mark.campaign
@pytest.mark.parametrize("accumulate", [1, 4])
def test_large_gradients_are_summed_where_they_are(tmp_path, accumulate):
    """One weight has more than 1 MiB. Sums over micro-batches are state, which a skipped step resets on all ranks alike."""
    # Adam would divide gradients near zero, which are rounding, by themselves.
    given = [f"train.accumulate={accumulate}", "train.max_skipped=null", "optimizer.name=SGD"]
    given.append("model.args={in_features: 64, num_classes: 10, hidden: [520, 512]}")
    found = []
    for ranks, nan in ((1, "0:3"), (2, "1:3")):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        found.append(trained(folder, ranks, *given, steps=6, nan=nan))
    assert [each.ranks[0]["skipped"].count(True) for each in found] == [1, 1]
    alone, shared = (replace(each, ranks=[{**rank, "losses": rank["losses"][:3]} for rank in each.ranks]) for each in found)
    check_same(shared, alone)


@pytest.mark.campaign
@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_bad_sample_of_one_rank_skips_the_step_on_all(tmp_path, accumulate):
    found = trained(
        tmp_path,
        2,
        f"train.accumulate={accumulate}",
        "model.name=cnn",
        "model.args={in_channels: 1, num_classes: 10}",
        "train.max_skipped=null",
        steps=6,
        nan="1:3",
    )
    assert [each["skipped"] for each in found.ranks] == [[False] * 3 + [True] + [False] * 2] * 2
    assert found.ranks[0]["digests"] == found.ranks[1]["digests"]
    # In a step of several micro-batches, a slow rank may fall behind by more than gloo waits.
    apart = range(1, 7) if accumulate > 1 else [1]
    assert [each for each in found.ranks[0]["met"] if each.startswith("step ")] == [f"step {each}" for each in apart]
    before, after = found.arrays[2], found.arrays[3]
    assert all(np.array_equal(array, after[name]) for name, array in before.items() if "LearningRate" not in name)
    assert not np.array_equal(after["raw|conv2d_0.w_0"], found.arrays[4]["raw|conv2d_0.w_0"])
    assert all(np.isfinite(array).all() for array in found.arrays[-1].values())
