"""tools/predict.py from a user's view."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.commands import ROOT
from support.configs import SMALL, write_config

from ppema.cli.predict import main
from ppema.cli.train import main as train_main
from ppema.data.sets.synthetic import synthetic

CONFIG = ["-c", "small.yml"]
RUN = "weights: ema of runs/small/checkpoints/step-00000007, step 7"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run, with an archive of 21 samples."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_config(folder / "small.yml", SMALL)
        assert train_main([*CONFIG, "-o", "train.epochs=1"]) == 0
        images = synthetic(21, (1, 8, 8), 3, 0.5, 0, "test").arrays[0]
        np.savez("new.npz", images)
        images[[2, 20], 0, 0, 0] = np.nan
        np.savez("bad.npz", images)
        images[:] = np.nan
        np.savez("worse.npz", images)
    return folder


@pytest.fixture
def here(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    capsys.readouterr()
    return run


def test_a_table_on_stdout_and_the_rest_on_stderr(here, capsys):
    assert main([*CONFIG, "--input", "new.npz", "--json"]) == 0
    out, err = capsys.readouterr()
    *lines, result = out.splitlines()
    assert len(lines) == 22 and lines[0] == "name         class  probability"
    assert len({len(line) for line in lines}) == 1
    assert json.loads(result) == {"samples": 21, "left_out": 0, "weights": RUN.removeprefix("weights: "), "to": None}
    assert err == f"{RUN}\n"


def test_files_have_the_same_predictions(here, capsys):
    for name in ("out.jsonl", "out.csv", "out.npz"):
        assert main([*CONFIG, "--input", "new.npz", "--to", name]) == 0
        assert capsys.readouterr() == ("", f"{RUN}\n{name}: 21 samples\n")
    lines = [json.loads(line) for line in (here / "out.jsonl").read_text().splitlines()]
    rows = [line.split(",") for line in (here / "out.csv").read_text().splitlines()]
    assert rows[0] == ["name", "class", "probability"]
    assert [[line["name"], str(line["label"]), f"{line['probability']:.9g}"] for line in lines] == rows[1:]
    with np.load("out.npz") as found:
        np.testing.assert_array_equal(found["probabilities"], np.array([line["probabilities"] for line in lines], np.float32))


def test_samples_that_can_not_be_used_stop_it_or_are_left_out(here, capsys):
    assert main([*CONFIG, "--input", "bad.npz", "--to", "kept.csv", "--batch-size", "2"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{RUN}\nkept.csv.partial: the samples until then\nbad.npz[2]: input_0 holds nan\n")
    assert not (here / "kept.csv").exists() and len((here / "kept.csv.partial").read_text().splitlines()) == 3
    assert main([*CONFIG, "--input", "bad.npz", "--on-error", "skip", "--to", "kept.csv"]) == 0
    left = "".join(f"left out: bad.npz[{row}]: input_0 holds nan\n" for row in (2, 20))
    assert capsys.readouterr().err == f"{RUN}\n{left}2 of 21 samples were left out\nkept.csv: 19 samples\n"
    assert main([*CONFIG, "--input", "worse.npz", "--on-error", "skip"]) == 2
    assert capsys.readouterr().err.endswith("no sample could be used: all 21 were left out\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top", "4"], "--top: 4 is more than the 3 classes of 'output'"),
        (["--top", "0"], "--top: expected an integer >= 1, got 0"),
        (["--to", "out.txt"], "--to: out.txt: expected a name in .jsonl, .csv or .npz, or give --format"),
        (["--format", "npz"], "--format npz requires --to FILE.npz"),
        (["--to", "nowhere/out.csv"], "--to: nowhere/out.csv: there is no folder nowhere"),
        (["--batch-size", "0"], "--batch-size: expected an integer >= 1, got 0"),
        (
            ["--weights", "x.safetensors", "--checkpoint", "best"],
            "--checkpoint: x.safetensors is a file of weights: leave it out",
        ),
        (["-o", "model={name: mlp, args: {in_features: 64, num_classes: 3}}"], "it is another model's"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(here, capsys, arguments, message):
    assert main([*CONFIG, "--input", "new.npz", *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line != RUN]
    assert len(lines) == 1 and lines[0].endswith(message)


def test_ctrl_c_leaves_whole_lines(here):
    np.savez("many.npz", np.zeros((200_000, 1, 8, 8), np.float32))
    command = [sys.executable, str(ROOT / "tools/predict.py"), *CONFIG, "--input", "many.npz", "--to", "many.jsonl"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    partial = here / "many.jsonl.partial"
    while process.poll() is None and not (partial.exists() and partial.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == f"{RUN}\nmany.jsonl.partial: the samples until then\n"
    assert process.returncode == 130
    lines = partial.read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines[:: len(lines) - 1]] == ["many.npz[0]", f"many.npz[{len(lines) - 1}]"]
    assert len(lines) < 200_000 and not (here / "many.jsonl").exists()
