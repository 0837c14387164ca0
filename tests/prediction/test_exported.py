"""Predictions of an exported folder, without the config of its run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from support.configs import CNN, loader

import ppema
from ppema.cli.predict import main
from ppema.data.sets.synthetic import synthetic
from ppema.errors import CheckpointError, DataError, PpemaError

IMAGES = synthetic(21, (1, 8, 8), 3, 0.5, 0, "test").arrays[0]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The config of a run, and its exported average."""
    folder = tmp_path_factory.mktemp("exported")
    config = loader(folder, CNN)("data.normalize=true", "train.epochs=1")
    ppema.train(config)
    ppema.export(config, folder / "model", format="paddle", weights="ema")
    return config, folder / "model"


def test_they_are_those_of_the_average(exported):
    config, model = exported
    expected = list(ppema.predict(config, IMAGES, weights="ema"))
    shutil.rmtree(config.output)
    for found in (ppema.predict(model, IMAGES), ppema.predict(config, IMAGES, weights=model, batch_size=4)):
        for one, two in zip(expected, found, strict=True):
            np.testing.assert_allclose(one.outputs["output"], two.outputs["output"], atol=1e-5)
            assert (one.label, one.name) == (two.label, two.name)
            assert one.probability == pytest.approx(two.probability, abs=1e-5)


def test_the_tool_needs_no_config(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("new.npz", IMAGES)
    assert main(["--weights", str(exported[1]), "--input", "new.npz", "--to", "out.jsonl"]) == 0
    assert capsys.readouterr().err == f"weights: ema at step 7 in {exported[1]}\nout.jsonl: 21 samples\n"
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 21
    for arguments, message in [
        (["-c", str(exported[1].parent / "small.yml")], "-c: {} is an exported model, which has its config: leave it out"),
        (["--checkpoint", "best"], "--checkpoint: {} is an exported model: leave it out"),
    ]:
        assert main(["--weights", str(exported[1]), "--input", "new.npz", *arguments]) == 2
        assert capsys.readouterr().err == message.format(exported[1]) + "\n"
    assert main(["--input", "new.npz"]) == 2
    assert capsys.readouterr().err == "-c CONFIG is missing: name the experiment's YAML file\n"


def test_a_data_set_is_found_in_the_working_directory(exported, tmp_path, monkeypatch):
    """As with the config of the run. The folder itself, which may be from somebody else, is not searched."""
    code = "from ppema.data.sets.synthetic import synthetic\n\n\nnew = lambda: synthetic(3, (1, 8, 8), 3, 0.5, 0, 'test')\n"
    (tmp_path / "made_here.py").write_text(code)
    (exported[1].parent / "made_there.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    assert len(list(ppema.predict(exported[1], "made_here.new"))) == 3
    with pytest.raises(DataError, match="there is no module 'made_there'"):
        ppema.predict(exported[1], "made_there.new")


def test_what_is_wrong_with_a_folder_is_refused(exported, tmp_path):
    _, model = exported
    with pytest.raises(PpemaError, match="is an exported model: leave it out"):
        ppema.predict(model, IMAGES, weights="ema")
    bad = shutil.copytree(model, tmp_path / "bad")
    (bad / "inference.pdiparams").write_bytes(b"\0" + (bad / "inference.pdiparams").read_bytes()[1:-1] + b"\0")
    with pytest.raises(CheckpointError, match="damaged: its checksum is not that in model.json"):
        ppema.predict(bad, IMAGES)
    written = json.loads((bad / "model.json").read_text())
    (bad / "model.json").write_text(json.dumps(written | {"files": {}}))
    with pytest.raises(CheckpointError, match="it has no inference program of Paddle"):
        ppema.predict(bad, IMAGES)


def test_the_name_of_an_average_comes_before_a_folder(exported, tmp_path, monkeypatch):
    config, model = exported
    shutil.copytree(model, tmp_path / "ema")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="nowhere"):  # where the run's average would be
        ppema.predict(config.replace(output="nowhere"), IMAGES, weights="ema")
