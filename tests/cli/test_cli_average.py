"""tools/average.py from a user's view: its output, files, exit codes, and one line for every fault."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.average_command import CONFIG, average
from support.configs import with_snapshots
from visualdl import LogReader

from ppema.checkpoint.store import Checkpoints
from ppema.cli.average import main as average_main
from ppema.cli.eval import main as eval_main
from ppema.training.loop import train
from ppema.weights.file import description

ROOT = Path(__file__).parents[2]


def printed(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_given_lengths_are_each_written(copied_run, capsys):
    assert average("--sigma-rel", "0.15,0.07", "--recalibrate-batches", "4", "--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    files = ["run/averages/sigma_rel-0.07.safetensors", "run/averages/sigma_rel-0.15.safetensors"]
    assert result["files"] == files
    assert [line.split()[:2] for line in out.splitlines()[:3]] == [
        ["average", "loss"],
        ["sigma_rel", "0.07"],
        ["sigma_rel", "0.15"],
    ]
    assert [line.split()[:2] for line in err.splitlines()] == [["sigma_rel", "0.07"], ["sigma_rel", "0.15"]]
    assert (
        description(copied_run / files[0]) == "sigma_rel 0.07 at step 60 from 6 snapshots, BatchNorm recalibrated on 4 batches"
    )
    for row, file in zip(result["rows"], files, strict=True):
        assert eval_main([*CONFIG, "--weights", file, "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out.splitlines()[-1]) == {file: row["metrics"]}
        assert err.strip() == description(copied_run / file)
    assert json.loads((copied_run / "run/averages/sigma_rel.json").read_text()) == {
        k: v for k, v in result.items() if k != "files"
    }


def test_names_of_what_is_written(copied_run, capsys):
    assert average("--half-life", "2 epochs", "--recalibrate-batches", "0") == 0
    assert average("--half-life", "25 %", "--recalibrate-batches", "0", "--step", "50", "--name", "mine") == 0
    assert average("--sigma-rel", "0.1", "--recalibrate-batches", "0", "--step", "50") == 0
    assert average("--last-checkpoints", "2", "--recalibrate-batches", "0") == 0
    names = ["half_life-2_epochs", "last-2", "mine", "sigma_rel-0.1-step-50"]
    assert sorted(os.listdir("run/averages")) == sorted(f"{name}.{end}" for name in names for end in ("json", "safetensors"))
    assert description(copied_run / "run/averages/mine.safetensors") == "half_life 25 % at step 50 from 5 snapshots"


def test_a_grid_search_finds_the_best_of_its_table(copied_run, capsys):
    assert average("--search", "grid", "--points", "5", "--between", "0.04,0.25", "--recalibrate-batches", "4", "--json") == 0
    result = printed(capsys)
    rows = result["rows"]
    assert [row["length"] for row in rows] == [0.04, 0.06325, 0.1, 0.1581, 0.25]
    assert result["metric"] == "accuracy"
    best = max(rows, key=lambda row: (row["metrics"]["accuracy"], -row["metrics"]["loss"]))
    assert result["best"] == best
    # The run tracks σ_rel 0.1.
    assert rows[2]["error"] < 1e-10 < rows[0]["error"]
    assert result["files"] == ["run/averages/grid-sigma_rel.safetensors"]
    assert f"sigma_rel {best['length']:.4g} at step 60" in description(copied_run / result["files"][0])
    folder = copied_run / "run/averages"
    assert (folder / "grid-sigma_rel.png").read_bytes().startswith(b"\x89PNG")
    (log,) = (folder / "vdl/grid-sigma_rel").iterdir()
    reader = LogReader(file_path=str(log))
    found = [(record.id, record.value) for record in reader.get_data("scalar", "accuracy")]
    assert [step for step, _ in found] == [400, 632, 1000, 1581, 2500]
    assert [value for _, value in found] == pytest.approx([row["metrics"]["accuracy"] for row in rows])
    assert len(reader.get_data("image", "accuracy by length")) == 1


def test_a_golden_search_over_half_lives_by_another_metric(copied_run, capsys):
    arguments = ["--search", "golden", "--over", "half_life", "--between", "2 steps,2 epochs", "--points", "4"]
    assert average(*arguments, "--metric", "loss", "--recalibrate-batches", "0", "--json") == 0
    result = printed(capsys)
    assert result["name"] == "golden-half_life"
    assert result["best"] == min(result["rows"], key=lambda row: row["metrics"]["loss"])
    golden = (math.sqrt(5) - 1) / 2
    first_two = {float(f"{2 * 10**fraction:.4g}") for fraction in (1 - golden, golden)}
    assert first_two < {row["length"] for row in result["rows"]}


def test_the_mean_of_checkpoints(copied_run, capsys):
    assert average("--last-checkpoints", "3", "--recalibrate-batches", "0", "--json") == 0
    result = printed(capsys)
    assert [(row["name"], row["length"], row["error"], row["parts"]) for row in result["rows"]] == [
        ("last 3 checkpoints", None, None, 3)
    ]
    found = load_file("run/averages/last-3.safetensors")
    raw = [each.arrays("raw") for each in Checkpoints(copied_run / "run/checkpoints").newest(3)]
    for name, array in found.items():
        np.testing.assert_allclose(array, np.mean([each[name] for each in raw], axis=0, dtype="float64"), rtol=1e-6, atol=1e-9)


def test_recalibration_changes_the_statistics_alone(copied_run, capsys):
    assert average("--sigma-rel", "0.07", "--recalibrate-batches", "0", "--name", "a") == 0
    assert average("--sigma-rel", "0.07", "--recalibrate-batches", "10", "--name", "b") == 0
    a, b = (load_file(f"run/averages/{name}.safetensors") for name in "ab")
    differing = {name for name in a if not np.array_equal(a[name], b[name])}
    assert differing == {"batch_norm2d_0.w_1", "batch_norm2d_0.w_2"}


def test_a_step_without_a_snapshot_is_told(copied_run, capsys):
    """The weights of the last five steps are missing. A wide profile tolerates that; a narrow one does not."""
    assert average("--sigma-rel", "0.25", "--step", "55", "--recalibrate-batches", "0") == 0
    err = capsys.readouterr().err
    assert err.splitlines()[0] == "step 55 has no snapshot: its averages omit the weights after step 50"
    assert average("--sigma-rel", "0.1", "--step", "55", "--recalibrate-batches", "0") == 2
    err = capsys.readouterr().err
    assert "run/snapshots: those up to step 55 can not make sigma_rel 0.1 (profile error 1." in err
    assert not (copied_run / "run/averages/sigma_rel-0.1-step-55.safetensors").exists()


def test_of_several_lengths_those_that_can_be_made_are_written(copied_run, capsys):
    assert average("--sigma-rel", "0.001,0.25", "--step", "55", "--recalibrate-batches", "0", "--json") == 0
    out, err = capsys.readouterr()
    assert [row["length"] for row in json.loads(out.splitlines()[-1])["rows"]] == [0.001, 0.25]
    assert "sigma_rel 0.001" in err and "the snapshots can not make this average" in err
    assert sorted(path.name for path in (copied_run / "run/averages").glob("*.safetensors")) == [
        "sigma_rel-step-55-0.25.safetensors"
    ]


def test_statistics_that_are_measured_anew_do_not_count_in_the_profile_error(tmp_path, capsys):
    """Only one of the averages covers them, and it alone can not represent the length that both can."""
    config = with_snapshots(tmp_path, "averages.wide.batch_norm=copy", "train.stop_after=20 steps")
    train(config)
    command = ["-c", str(tmp_path / "small.yml"), "-o", f"output={tmp_path / 'run'}", "--sigma-rel", "0.1", "--json"]
    errors = []
    for batches in ("4", "0"):
        assert average_main([*command, "--recalibrate-batches", batches]) == 0
        errors.append(printed(capsys)["rows"][0]["error"])
    assert errors[0] < 1e-9 < 0.05 < errors[1]


def test_a_candidate_that_the_snapshots_can_not_make_is_never_the_best(copied_run, capsys):
    assert average("--search", "grid", "--step", "55", "--between", "0.05,0.25", "--points", "4", "--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    far = [row for row in result["rows"] if row["error"] > 1]
    assert far and result["best"]["error"] < 1
    assert err.count("the snapshots can not make this average") == len(far)


def test_a_signal_ends_a_search_at_once_and_without_a_trace(copied_run):
    command = [sys.executable, str(ROOT / "tools/average.py"), *CONFIG, "--search", "grid", "--points", "300"]
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("sigma_rel"):
            process.terminate()
            break
    out, rest = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert out == "" and all(line.startswith("sigma_rel") for line in rest.splitlines())


def test_recalibration_batches_beyond_all_there_are(copied_run, capsys):
    assert average("--sigma-rel", "0.1", "--recalibrate-batches", "99999999999999999999", "--name", "x") == 0
    assert description(copied_run / "run/averages/x.safetensors").endswith("recalibrated on 10 batches")


def test_a_model_without_batch_norm_needs_no_training_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = "model={name: mlp, args: {in_features: 64, num_classes: 3}}"
    train(with_snapshots(tmp_path, "output=run", model, "train.stop_after=20 steps"))
    absent = "data.train={name: npz, path: absent.npz, batch_size: 8}"
    assert average_main(["-c", "small.yml", "-o", "output=run", "-o", model, "-o", absent, "--sigma-rel", "0.07"]) == 0
    assert description(tmp_path / "run/averages/sigma_rel-0.07.safetensors") == "sigma_rel 0.07 at step 20 from 2 snapshots"
