"""tools/export.py, and init_from in the other tools, from a user's view."""

from __future__ import annotations

import json

import pytest
from support.configs import CNN, write_config

from ppema.cli.eval import main as eval_main
from ppema.cli.export import main as export_main
from ppema.cli.show import main as show_main
from ppema.cli.train import main as train_main

CONFIG = ["-c", "small.yml"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with a finished run."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "small.yml", CNN)
    assert train_main([*CONFIG, "-o", "train.epochs=1"]) == 0
    return tmp_path


def test_export_then_eval_then_begin_with_it(here, capsys):
    capsys.readouterr()
    assert export_main([*CONFIG, "--to", "ema.safetensors", "--weights", "ema", "--json"]) == 0
    line, result = capsys.readouterr().out.splitlines()
    assert line == "ema.safetensors: ema at step 7, 7 variables by name"
    assert json.loads(result) == {
        "file": "ema.safetensors",
        "format": "safetensors",
        "names": "variables",
        "weights": "ema at step 7",
        "variables": 7,
    }
    measured = []
    for weights in ("ema", "ema.safetensors"):
        assert eval_main([*CONFIG, "-o", "train.epochs=1", "--weights", weights, "--json"]) == 0
        measured.append(json.loads(capsys.readouterr().out.splitlines()[-1])[weights])
    assert measured[0] == measured[1]
    begin = ["-o", "output=runs/new", "-o", "init_from={path: ema.safetensors, exclude: ['^5']}"]
    assert show_main([*CONFIG, *begin]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Initial", "values", "from", "ema.safetensors"] in lines
    assert ["conv2d_0.w_0", "0.weight", "loaded", "conv2d_0.w_0"] in lines
    assert ["linear_0.b_0", "5.bias", "left", "out"] in lines
    assert train_main([*CONFIG, *begin, "--dry-run"]) == 0
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith("init_from ema.safetensors: 5 of 7 variables loaded (0 transposed, 0 cast, 0 missing, ")
    assert err[1] == "init_from: left out: 5.bias, 5.weight"
    assert not (here / "runs/new").exists()


def test_what_is_wrong_is_one_line_and_exit_code_2(here, capsys):
    capsys.readouterr()
    assert export_main([*CONFIG, "--to", "x.pdparams", "--weights", "other"]) == 2
    said = "runs/small/checkpoints/step-00000007: there are no weights 'other'; there are raw, ema, tensorflow, measured\n"
    assert capsys.readouterr().err == said
    (here / "x.pdparams").write_bytes(b"cos\nsystem\n.")
    for main in (train_main, show_main):
        assert main([*CONFIG, "-o", "output=runs/new", "-o", "init_from.path=x.pdparams"]) == 2
        assert capsys.readouterr().err == (
            "-o init_from.path: x.pdparams: it would call 'os.system', and only arrays are admitted\n"
        )
    assert not (here / "runs/new").exists()


def test_a_folder_that_can_not_be_written_is_exit_code_1(here, capsys):
    capsys.readouterr()
    (here / "file").write_text("")
    assert export_main([*CONFIG, "--to", "file/x.pdparams"]) == 1
    assert "x.pdparams: the weights could not be written: " in capsys.readouterr().err


def test_a_name_that_is_too_long_is_one_line(here, capsys):
    capsys.readouterr()
    name = "x" * 300 + ".pdparams"
    assert export_main([*CONFIG, "--to", name]) == 2
    assert capsys.readouterr().err == f"--to: {name}: File name too long\n"
