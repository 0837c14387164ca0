"""The comparing part of docs/experiments/same_bytes.py, which compares the runs of two commits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file
from same_bytes import arrays, differences, kill_config, leaves, pointers, records

ROOT = Path(__file__).parents[1]
ARRAYS = {"w": np.array([[1.0, 0.0], [np.nan, 2.0]], "float32"), "count": np.array(7, "int64"), "h": np.ones(3, "float16")}


def saved(folder: Path, **changed: np.ndarray) -> Path:
    """A run's folder with one checkpoint, `last`, and arrays in it."""
    step = folder / "checkpoints/step-00000007"
    step.mkdir(parents=True)
    save_file({**ARRAYS, **changed}, step / "raw.safetensors")
    (folder / "checkpoints/last").write_text(f"{step.name} 0123456789abcdef\n")
    return folder


def test_the_same_arrays_are_the_same(tmp_path):
    before, after = arrays(saved(tmp_path / "a")), arrays(saved(tmp_path / "b"))
    assert [name.split(": ")[1] for name in sorted(before)] == ["count", "h", "w"]
    assert differences(before, after) == []


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"w": np.array([[1.0, 0.0], [np.nan, np.nextafter(np.float32(2), np.float32(3))]], "float32")},
            "w: 1 of 16 bytes differ",
        ),
        ({"w": np.array([[1.0, -0.0], [np.nan, 2.0]], "float32")}, "w: 1 of 16 bytes differ"),
        ({"w": ARRAYS["w"].reshape(4)}, "w: F32 [2, 2] before, F32 [4] after"),
        ({"count": np.array(7, "uint64")}, "count: I64 [] before, U64 [] after"),
        ({"new": np.zeros(1)}, "new: only after"),
    ],
    ids=["one ulp", "the sign of zero", "shape", "dtype", "one more"],
)
def test_each_difference_of_arrays_is_a_line(tmp_path, changed, line):
    before, after = arrays(saved(tmp_path / "a")), arrays(saved(tmp_path / "b", **changed))
    assert differences(before, after) == [f"checkpoints/step-00000007/raw.safetensors: {line}"]


def test_an_array_of_another_file_is_another_array(tmp_path):
    before, after = saved(tmp_path / "a"), saved(tmp_path / "b")
    (after / "checkpoints/step-00000007/raw.safetensors").rename(after / "checkpoints/step-00000007/weights.safetensors")
    lines = differences(arrays(before), arrays(after))
    assert sorted(line.split(": ", 1)[1] for line in lines) == sorted(
        f"{name}: only {side}" for name in ARRAYS for side in ("before", "after")
    )


def test_records_are_the_same_but_for_times_and_the_order_of_kinds(tmp_path):
    first = [
        {"kind": "checkpoint", "step": 1},
        {"kind": "train", "step": 2, "loss": float("nan"), "samples_per_second": 3.0},
        {"kind": "checkpoint", "step": 2},
    ]
    second = [first[0], first[2], {**first[1], "samples_per_second": 4.0}]
    third = [*second[:2], {**second[2], "loss": 1.5}]
    found = []
    for name, run in (("a", first), ("b", second), ("c", third)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in run))
        found.append(leaves(records(tmp_path / name)))
    assert differences(found[0], found[1]) == []
    assert differences(found[0], found[2]) == ["train.0.loss: NaN before, 1.5 after"]


def test_pointers_are_compared_by_the_folder_they_name(tmp_path):
    run = saved(tmp_path / "a")
    (run / "checkpoints/best-raw-loss").write_text("step-00000003 fedcba9876543210\n")
    assert pointers(run) == {"last": "step-00000007", "best-raw-loss": "step-00000003"}


def test_the_config_of_the_kill_test_is_found():
    assert yaml.safe_load(kill_config(ROOT))["train"]["save_every"] == "1 step"
