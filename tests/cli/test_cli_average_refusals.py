"""What average refuses, each time with one line and exit code 2, and what it warns of."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.average_command import CONFIG, average
from support.checkpoints import written_again
from support.configs import with_snapshots

from ppema.cli.average import main as average_main
from ppema.cli.eval import main as eval_main
from ppema.posthoc.snapshots import SnapshotManifest
from ppema.training.loop import train

ROOT = Path(__file__).parents[2]


def printed(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


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
def test_bad_input_is_one_line_and_exit_code_2(copied_run, capsys, arguments, said):
    assert average(*arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert not (copied_run / "run/averages").exists()


def test_a_run_without_snapshots(copied_run, capsys):
    shutil.rmtree("run/snapshots")
    assert average("--sigma-rel", "0.1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("run/snapshots: there are no snapshots: set train.snapshot_every")


def test_a_damaged_snapshot(copied_run, capsys):
    folder = copied_run / "run/snapshots/step-00000030"
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


def test_nothing_asked_for_or_two_things(copied_run, capsys):
    for arguments in ([], ["--sigma-rel", "0.1", "--half-life", "1 epoch"], ["--search", "random"]):
        with pytest.raises(SystemExit) as caught:
            average(*arguments)
        assert caught.value.code == 2


def test_weights_that_are_not_the_models(copied_run, capsys):
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


def test_an_averages_folder_that_is_a_file(copied_run, capsys):
    (copied_run / "run/averages").write_text("")
    assert average("--sigma-rel", "0.1") == 1
    assert "the weights could not be written" in capsys.readouterr().err


def test_statistics_that_the_snapshots_do_not_have(tmp_path, capsys):
    policies = ["averages.narrow.batch_norm=copy", "averages.wide.batch_norm=recalibrate"]
    train(with_snapshots(tmp_path, *policies, "train.stop_after=20 steps"))
    command = ["-c", str(tmp_path / "small.yml"), "-o", f"output={tmp_path / 'run'}", "--sigma-rel", "0.1"]
    assert average_main([*command, "--recalibrate-batches", "0"]) == 2
    assert "its averages do not cover BatchNorm's statistics, and the raw model's are not theirs" in capsys.readouterr().err


def test_a_metric_that_is_never_a_number(copied_run, capsys):
    folder = copied_run / "run/snapshots/step-00000060"
    arrays = load_file(folder / "average-wide.safetensors")
    written_again(SnapshotManifest, folder, {"average-wide": {**arrays, "linear_0.b_0": np.full(3, np.nan, "float32")}})
    assert average("--search", "grid", "--points", "2", "--metric", "loss", "--recalibrate-batches", "0") == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "no candidate can win: the loss of each is NaN, or its profile is far off"
    )
