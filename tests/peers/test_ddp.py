"""Several ranks train what torch's DistributedDataParallel trains, with torch's own averages, if each sample counts once there.

recorded_ddp.json holds torch's numbers, as record_ddp.py trained them in float64.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file
from support import ddp_ranks
from support.ddp_cases import CASES, RANKS, DdpCase, first_weights, samples_of
from support.launched import launch

RUNS = json.loads((Path(__file__).parent / "recorded_ddp.json").read_text(encoding="utf-8"))["runs"]
BOUND = 2e-6  # torch adds 1e-6 to a norm by which it clips


def config(case: DdpCase) -> dict:
    data = {"name": "npz", "path": f"{case.samples}.npz", "batch_size": case.batch}
    optimizer = {"name": case.optimizer, "weight_decay": case.weight_decay, "clip_norm": case.clip_norm}
    return {
        "model": {"name": "support.ddp_ranks.Perceptron", "args": {"norm": case.norm}},
        "init_from": {"path": f"first-{case.norm}.safetensors"},
        "data": {"train": data, "eval": data},
        "loss": {"name": "cross_entropy", "args": {"class_weights": case.class_weights and list(case.class_weights)}},
        "metrics": [],
        "optimizer": optimizer,
        "lr": case.lr,
        "averages": {
            "ema": {"decay": 0.9, "bias_correction": False, "start": "1 step"},
            "swa": {"simple": True, "sharded": True},
        },
        "train": {
            "epochs": case.epochs,
            "accumulate": case.accumulate,
            "eval_every": "100 %",
            "save_every": "100 %",
            "evaluate": ["raw"],
        },
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the runs of all cases, trained by RANKS processes."""
    folder = tmp_path_factory.mktemp("ddp")
    for name, case in CASES.items():
        x, y = samples_of(case)
        np.savez(folder / f"{case.samples}.npz", x=x, y=y)
        save_file(first_weights(case), folder / f"first-{case.norm}.safetensors")
        (folder / f"{name}.yml").write_text(yaml.safe_dump(config(case)))
    job = launch(RANKS, [str(ddp_ranks.__file__), "."], cwd=folder)
    assert job.code == 0, job.outputs
    return folder


def trained(run: Path) -> dict[str, dict[str, np.ndarray]]:
    """The raw weights and the averages of the last checkpoint by place, read as docs/checkpoints.md describes it."""
    checkpoint = run / "checkpoints" / (run / "checkpoints/last").read_text().split()[0]
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    found = {"raw": load_file(checkpoint / "raw.safetensors")}
    for name, average in manifest["averages"].items():
        shadows = load_file(checkpoint / f"average-{name}.safetensors")
        found[name] = {variable: shadows[shadow] for variable, shadow in average["shadow_of"].items()}
    return {kind: {place: arrays[name] for place, name in manifest["structured"].items()} for kind, arrays in found.items()}


@pytest.mark.campaign
@pytest.mark.parametrize("name", CASES)
def test_ranks_train_what_ddp_trains(folder, name):
    ours = trained(folder / "runs" / name)
    assert ours.keys() == RUNS[name].keys()
    for kind, weights in RUNS[name].items():
        assert ours[kind].keys() == weights.keys()
        for place, wanted in weights.items():
            np.testing.assert_allclose(ours[kind][place].ravel(), wanted, rtol=0, atol=BOUND, err_msg=f"{kind} {place}")
