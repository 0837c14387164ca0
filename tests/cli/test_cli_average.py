"""tools/average.py from a user's view: its output, files, exit codes, and one line for every fault."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.checkpoints import written_again
from support.configs import with_snapshots
from visualdl import LogReader

from ppema.checkpoint.store import Checkpoints
from ppema.cli.average import main as average_main
from ppema.cli.eval import main as eval_main
from ppema.posthoc.snapshots import SnapshotManifest
from ppema.training.loop import train
from ppema.weights.file import description

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a run of 60 steps."""
    folder = tmp_path_factory.mktemp("average")
    train(with_snapshots(folder, "output=run", f"output={folder / 'run'}", "train.epochs=6", "train.monitor=wide/accuracy"))
    return folder


@pytest.fixture
def here(done, tmp_path, monkeypatch):
    """A copy of that folder as the current folder."""
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


CONFIG = ["-c", "small.yml", "-o", "output=run", "-o", "train.epochs=6", "-o", "train.monitor=wide/accuracy"]


def average(*arguments):
    return average_main([*CONFIG, *arguments])


def printed(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_given_lengths_are_each_written(here, capsys):
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
    assert description(here / files[0]) == "sigma_rel 0.07 at step 60 from 6 snapshots, BatchNorm recalibrated on 4 batches"
    for row, file in zip(result["rows"], files, strict=True):
        assert eval_main([*CONFIG, "--weights", file, "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out.splitlines()[-1]) == {file: row["metrics"]}
        assert err.strip() == description(here / file)
    assert json.loads((here / "run/averages/sigma_rel.json").read_text()) == {k: v for k, v in result.items() if k != "files"}


def test_names_of_what_is_written(here, capsys):
    assert average("--half-life", "2 epochs", "--recalibrate-batches", "0") == 0
    assert average("--half-life", "25 %", "--recalibrate-batches", "0", "--step", "50", "--name", "mine") == 0
    assert average("--sigma-rel", "0.1", "--recalibrate-batches", "0", "--step", "50") == 0
    assert average("--last-checkpoints", "2", "--recalibrate-batches", "0") == 0
    names = ["half_life-2_epochs", "last-2", "mine", "sigma_rel-0.1-step-50"]
    assert sorted(os.listdir("run/averages")) == sorted(f"{name}.{end}" for name in names for end in ("json", "safetensors"))
    assert description(here / "run/averages/mine.safetensors") == "half_life 25 % at step 50 from 5 snapshots"


def test_a_grid_search_finds_the_best_of_its_table(here, capsys):
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
    assert f"sigma_rel {best['length']:.4g} at step 60" in description(here / result["files"][0])
    folder = here / "run/averages"
    assert (folder / "grid-sigma_rel.png").read_bytes().startswith(b"\x89PNG")
    (log,) = (folder / "vdl/grid-sigma_rel").iterdir()
    reader = LogReader(file_path=str(log))
    found = [(record.id, record.value) for record in reader.get_data("scalar", "accuracy")]
    assert [step for step, _ in found] == [400, 632, 1000, 1581, 2500]
    assert [value for _, value in found] == pytest.approx([row["metrics"]["accuracy"] for row in rows])
    assert len(reader.get_data("image", "accuracy by length")) == 1


def test_a_golden_search_over_half_lives_by_another_metric(here, capsys):
    arguments = ["--search", "golden", "--over", "half_life", "--between", "2 steps,2 epochs", "--points", "4"]
    assert average(*arguments, "--metric", "loss", "--recalibrate-batches", "0", "--json") == 0
    result = printed(capsys)
    assert result["name"] == "golden-half_life"
    assert result["best"] == min(result["rows"], key=lambda row: row["metrics"]["loss"])
    golden = (math.sqrt(5) - 1) / 2
    first_two = {float(f"{2 * 10**fraction:.4g}") for fraction in (1 - golden, golden)}
    assert first_two < {row["length"] for row in result["rows"]}


def test_the_mean_of_checkpoints(here, capsys):
    assert average("--last-checkpoints", "3", "--recalibrate-batches", "0", "--json") == 0
    result = printed(capsys)
    assert [(row["name"], row["length"], row["error"], row["parts"]) for row in result["rows"]] == [
        ("last 3 checkpoints", None, None, 3)
    ]
    found = load_file("run/averages/last-3.safetensors")
    raw = [each.arrays("raw") for each in Checkpoints(here / "run/checkpoints").newest(3)]
    for name, array in found.items():
        np.testing.assert_allclose(array, np.mean([each[name] for each in raw], axis=0, dtype="float64"), rtol=1e-6, atol=1e-9)


def test_recalibration_changes_the_statistics_alone(here, capsys):
    assert average("--sigma-rel", "0.07", "--recalibrate-batches", "0", "--name", "a") == 0
    assert average("--sigma-rel", "0.07", "--recalibrate-batches", "10", "--name", "b") == 0
    a, b = (load_file(f"run/averages/{name}.safetensors") for name in "ab")
    differing = {name for name in a if not np.array_equal(a[name], b[name])}
    assert differing == {"batch_norm2d_0.w_1", "batch_norm2d_0.w_2"}


def test_a_step_without_a_snapshot_is_told(here, capsys):
    """The weights of the last five steps are missing. A wide profile tolerates that; a narrow one does not."""
    assert average("--sigma-rel", "0.25", "--step", "55", "--recalibrate-batches", "0") == 0
    err = capsys.readouterr().err
    assert err.splitlines()[0] == "step 55 has no snapshot: its averages omit the weights after step 50"
    assert average("--sigma-rel", "0.1", "--step", "55", "--recalibrate-batches", "0") == 2
    err = capsys.readouterr().err
    assert "run/snapshots: those up to step 55 can not make sigma_rel 0.1 (profile error 1." in err
    assert not (here / "run/averages/sigma_rel-0.1-step-55.safetensors").exists()


def test_of_several_lengths_those_that_can_be_made_are_written(here, capsys):
    assert average("--sigma-rel", "0.001,0.25", "--step", "55", "--recalibrate-batches", "0", "--json") == 0
    out, err = capsys.readouterr()
    assert [row["length"] for row in json.loads(out.splitlines()[-1])["rows"]] == [0.001, 0.25]
    assert "sigma_rel 0.001" in err and "the snapshots can not make this average" in err
    assert sorted(path.name for path in (here / "run/averages").glob("*.safetensors")) == ["sigma_rel-step-55-0.25.safetensors"]


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


def test_a_candidate_that_the_snapshots_can_not_make_is_never_the_best(here, capsys):
    assert average("--search", "grid", "--step", "55", "--between", "0.05,0.25", "--points", "4", "--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    far = [row for row in result["rows"] if row["error"] > 1]
    assert far and result["best"]["error"] < 1
    assert err.count("the snapshots can not make this average") == len(far)


BAD = [
    (["--sigma-rel", "0.5"], "--sigma-rel: expected a number in [0.0001, 0.2886], got 0.5"),
    (["--half-life", "2"], "--half-life: expected a duration such as '50 steps', '1 epoch', '2000 samples' or '10 %', got '2'"),
    (["--sigma-rel", "0.1", "--metric", "acc"], "--metric: 'acc' is not measured; measured are loss, accuracy"),
    (["--sigma-rel", "0.1", "--step", "61"], "run/snapshots: there are snapshots of steps 10 to 60, not of step 61"),
    (["--sigma-rel", "0.1", "--step", "0"], "--step: expected 1 or more, got 0"),
    (["--sigma-rel", "0.1", "--recalibrate-batches", "-1"], "--recalibrate-batches: expected 0 or more batches, got -1"),
    (["--sigma-rel", "0.1", "--points", "5"], "--points: it goes with --search"),
    (
        ["--sigma-rel", "0.1", "--name", "../x"],
        "--name: expected a name made of letters, digits, '.', '_', '+' and '-', got '../x'",
    ),
    (["--search", "grid", "--points", "1"], "--points: expected an integer from 2 to 10000, got 1"),
    (["--search", "golden", "--points", "10001"], "--points: expected an integer from 2 to 10000, got 10001"),
    (["--search", "grid", "--points", f"1{21 * '0'}"], f"--points: expected an integer from 2 to 10000, got 1{21 * '0'}"),
    (["--search", "grid", "--between", "0.1"], "--between: expected two lengths such as '0.02,0.25', got '0.1'"),
    (["--search", "grid", "--over", "half_life", "--between", "0.1,0.2"], "--between: expected a duration such as"),
    (["--last-checkpoints", "0"], "--last-checkpoints: expected 1 or more, got 0"),
    (
        ["--last-checkpoints", "4"],
        "run/checkpoints: it has 3 of the last 4 checkpoints: the run kept train.keep, 3",
    ),
    (["--last-checkpoints", "2", "--step", "5"], "--step: it goes with averages from snapshots, not with --last-checkpoints"),
    (["--sigma-rel", "0.1", "-o", "model.args.widths=[5]"], "is float32 [4]: it is another model's"),
    (["--search", "grid", "--between", "0.02,0.2887"], "expected a number in [0.0001, 0.2886], got 0.2887"),
    (["--sigma-rel", "0.1", "-o", "model.args.widths=[4, 4]"], "it is another model's"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[" ".join(each[0]) for each in BAD])
def test_bad_input_is_one_line_and_exit_code_2(here, capsys, arguments, said):
    assert average(*arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert not (here / "run/averages").exists()


def test_a_run_without_snapshots(here, capsys):
    shutil.rmtree("run/snapshots")
    assert average("--sigma-rel", "0.1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("run/snapshots: there are no snapshots: set train.snapshot_every")


def test_a_damaged_snapshot(here, capsys):
    folder = here / "run/snapshots/step-00000030"
    file = folder / "average-wide.safetensors"
    whole, arrays = file.read_bytes(), load_file(file)
    file.write_bytes(file.read_bytes()[:-1])
    assert average("--sigma-rel", "0.1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("run/snapshots/step-00000030/average-wide.safetensors: ")
    file.write_bytes(whole)
    part = {name: array for name, array in arrays.items() if "linear" not in name}
    written_again(SnapshotManifest, folder, {"average-wide": part})
    assert average("--sigma-rel", "0.1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "run/snapshots/step-00000030: damaged: it lacks variable 'linear_0.b_0'"


def test_nothing_asked_for_or_two_things(here, capsys):
    for arguments in ([], ["--sigma-rel", "0.1", "--half-life", "1 epoch"], ["--search", "random"]):
        with pytest.raises(SystemExit) as caught:
            average(*arguments)
        assert caught.value.code == 2


def test_weights_that_are_not_the_models(here, capsys):
    assert average("--sigma-rel", "0.1", "--name", "x") == 0
    capsys.readouterr()
    file = "run/averages/x.safetensors"
    arrays = load_file(file)

    def told(arguments=()):
        assert eval_main([*CONFIG, "--weights", file, *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    save_file({**arrays, "extra": np.zeros(1)}, file)
    assert told() == f"{file}: it has the unknown variable 'extra': it is another model's"
    save_file({name: array for name, array in arrays.items() if name != "linear_0.b_0"}, file)
    assert told() == f"{file}: it lacks variable 'linear_0.b_0': it is another model's"
    save_file({**arrays, "linear_0.b_0": np.zeros(4, "float32")}, file)
    assert told() == f"{file}: variable linear_0.b_0 is float32 [3], the new value is float32 [4]: it is another model's"
    assert told(["--batch-norm", "all"]).startswith(f"{file}: a file of weights is evaluated as it is: leave out checkpoint")
    os.remove(file)
    assert told() == f"{file}: No such file or directory"


def test_a_signal_ends_a_search_at_once_and_without_a_trace(here):
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


def test_recalibration_batches_beyond_all_there_are(here, capsys):
    assert average("--sigma-rel", "0.1", "--recalibrate-batches", "99999999999999999999", "--name", "x") == 0
    assert description(here / "run/averages/x.safetensors").endswith("recalibrated on 10 batches")


def test_an_averages_folder_that_is_a_file(here, capsys):
    (here / "run/averages").write_text("")
    assert average("--sigma-rel", "0.1") == 1
    assert "the weights could not be written" in capsys.readouterr().err


def test_statistics_that_the_snapshots_do_not_have(tmp_path, capsys):
    policies = ["averages.narrow.batch_norm=copy", "averages.wide.batch_norm=recalibrate"]
    train(with_snapshots(tmp_path, *policies, "train.stop_after=20 steps"))
    command = ["-c", str(tmp_path / "small.yml"), "-o", f"output={tmp_path / 'run'}", "--sigma-rel", "0.1"]
    assert average_main([*command, "--recalibrate-batches", "0"]) == 2
    assert "its averages do not cover BatchNorm's statistics, and the raw model's are not theirs" in capsys.readouterr().err


def test_a_metric_that_is_never_a_number(here, capsys):
    folder = here / "run/snapshots/step-00000060"
    arrays = load_file(folder / "average-wide.safetensors")
    written_again(SnapshotManifest, folder, {"average-wide": {**arrays, "linear_0.b_0": np.full(3, np.nan, "float32")}})
    assert average("--search", "grid", "--points", "2", "--metric", "loss", "--recalibrate-batches", "0") == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "no candidate can win: the loss of each is NaN, or its profile is far off"
    )


def test_a_model_without_batch_norm_needs_no_training_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = "model={name: mlp, args: {in_features: 64, num_classes: 3}}"
    train(with_snapshots(tmp_path, "output=run", model, "train.stop_after=20 steps"))
    absent = "data.train={name: npz, path: absent.npz, batch_size: 8}"
    assert average_main(["-c", "small.yml", "-o", "output=run", "-o", model, "-o", absent, "--sigma-rel", "0.07"]) == 0
    assert description(tmp_path / "run/averages/sigma_rel-0.07.safetensors") == "sigma_rel 0.07 at step 20 from 2 snapshots"
