"""A run read from its folder."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.configs import loader

import ppema
from ppema.errors import CheckpointError, PpemaError
from ppema.training.loop import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    config = loader(folder)("train.keep=9")
    return config, train(config)


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained[0].output, tmp_path / "copy")


def test_a_finished_run_is_what_trained(trained):
    config, result = trained
    run = ppema.run(config.output)
    assert run.config == config
    assert [each.step for each in run.checkpoints] == [10, 20, 28]
    assert repr(run.last) == f"Checkpoint(path={run.last.path!r})"
    assert (run.last.manifest.state, run.best.step) == (result.state, result.best["ema/accuracy"].step)
    final = {each["weights"]: each for each in run.records.evaluations[-3:]}
    for weights, metrics in result.metrics.items():
        place = {"step": 28, "epoch": 4.0, "seconds": run.records.train[-1]["seconds"]}
        assert final[weights] == {"kind": "eval", **place, "weights": weights, **metrics}
    assert [each["step"] for each in run.records.train] == [5, 10, 15, 20, 25, 28]


def test_weights_are_read_by_their_name(trained):
    last = ppema.run(trained[0].output).last
    raw, ema = last.weights("raw"), last.weights("ema")
    assert raw.keys() == ema.keys()
    shadow_of = last.manifest.averages["ema"].shadow_of
    shadows = last.arrays("average-ema")
    assert all(np.array_equal(ema[name], shadows[shadow]) for name, shadow in shadow_of.items())
    with pytest.raises(CheckpointError, match="there are no weights 'emma'; there are raw, ema, quick"):
        last.weights("emma")


def test_a_copy_is_a_run_of_its_own(copied, trained):
    """Its config.yml names the original folder, and evaluating the copy must not write there."""
    run = ppema.run(copied)
    assert run.config.output == str(copied)
    assert run.config.replace(output=trained[0].output) == trained[0]


def test_what_a_running_run_adds_is_seen_by_the_next_call(copied):
    run = ppema.run(copied)
    before = run.records
    with (copied / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "eval", "step": 29, "epoch": 4.1, "weights": "raw", "loss": null}\n{"kind": "eval", "st')
    assert run.records is before
    again = ppema.run(copied).records.evaluations
    assert again[:-1] == before.evaluations
    assert again[-1] == {"kind": "eval", "step": 29, "epoch": 4.1, "weights": "raw", "loss": None}


def test_a_run_without_checkpoints_or_records_has_none(copied):
    shutil.rmtree(copied / "checkpoints")
    (copied / "metrics.jsonl").unlink()
    run = ppema.run(copied)
    assert (run.checkpoints, run.records.train, run.records.evaluations) == ((), (), ())
    with pytest.raises(CheckpointError, match="checkpoints/last: there is no last checkpoint: train first"):
        run.last  # noqa: B018


def test_damage_is_named(copied):
    folder = copied / "checkpoints"
    os.truncate(folder / "step-00000010/manifest.json", 100)
    os.truncate(folder / "step-00000028/average-ema.safetensors", 100)
    run = ppema.run(copied)
    with pytest.raises(CheckpointError, match=r"step-00000010/manifest.json: damaged"):
        run.checkpoints  # noqa: B018
    assert run.last.weights("raw")
    with pytest.raises(CheckpointError, match=r"step-00000028/average-ema.safetensors: damaged: it has 100 bytes"):
        run.last.weights("ema")
    with pytest.raises(CheckpointError, match="there is no checkpoint 'bets'; there are best, last"):
        run.checkpoint("bets")


def test_a_folder_that_is_no_run(trained, tmp_path):
    checkpoints = f"{trained[0].output}/checkpoints"
    said = "this is no run of ppema: it has no config.yml: name the output folder of a run"
    with pytest.raises(PpemaError, match=re.escape(f"{checkpoints}: {said}")):
        ppema.run(checkpoints)
    with pytest.raises(PpemaError, match="missing: this is no run of ppema: there is no such folder: name the output"):
        ppema.run(tmp_path / "missing")
    with pytest.raises(PpemaError, match="aaa: it can not be read: File name too long"):
        ppema.run("a" * 300)


def test_the_page_of_docs_runs(trained, tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[2] / "docs/reading.md").read_text(encoding="utf-8")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/digits_cnn").symlink_to(trained[0].output)
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], {})
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Momentum 4"
    assert [line.split()[:2] for line in said[7:10]] == [["28", "raw"], ["28", "ema"], ["28", "quick"]]
