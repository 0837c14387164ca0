"""Checkpoints on disk: whole or not there, pruned but for the newest and the best, refused when they do not fit."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from ppema.errors import CheckpointError
from ppema.run.checkpoint import Checkpoint, Checkpoints, check_fits

RAW = {"w": np.array([[1.5, -2.0]], "float32"), "mean": np.array(3.0, "float32")}
AVERAGE = {"w/ema": np.array([[0.5, 0.25]], "float32"), "ema/count": np.array(7), "ema/weight": np.array(0.125)}
MANIFEST = {"averages": {"ema": {"shadow_of": {"w": "w/ema"}}}}


def save(checkpoints, step, *, best=False):
    return checkpoints.save(step, {"raw": RAW, "average-ema": AVERAGE}, MANIFEST, best=best)


def names(folder):
    return sorted(os.listdir(folder))


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", keep=2)


def test_arrays_come_back_bit_for_bit(checkpoints):
    save(checkpoints, 5)
    found = checkpoints.find("last")
    for part, arrays in (("raw", RAW), ("average-ema", AVERAGE)):
        read = found.arrays(part)
        assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in read.items()} == {
            name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()
        }


def test_an_average_is_read_under_the_variables_own_names(checkpoints):
    save(checkpoints, 5)
    weights = checkpoints.find("last").weights("ema")
    assert {name: value.tolist() for name, value in weights.items()} == {"w": [[0.5, 0.25]], "mean": 3.0}
    with pytest.raises(CheckpointError, match="there are no weights 'long'; there are raw, ema"):
        checkpoints.find("last").weights("long")


def test_the_newest_and_the_best_are_kept(checkpoints):
    for step in range(1, 6):
        save(checkpoints, step, best=step == 2)
    assert names(checkpoints.folder) == ["best", "last", "step-00000002", "step-00000004", "step-00000005"]
    assert checkpoints.find("best").path.name == "step-00000002"
    assert checkpoints.find("last").path.name == "step-00000005"


def test_saving_a_step_again_replaces_it(checkpoints):
    save(checkpoints, 1)
    path = checkpoints.save(1, {"raw": {"w": RAW["w"] + 1}}, MANIFEST, best=False)
    assert names(path) == ["manifest.json", "raw.safetensors"]
    assert checkpoints.find("last").arrays("raw")["w"].tolist() == [[2.5, -1.0]]


def test_a_write_that_fails_leaves_the_earlier_ones(checkpoints, monkeypatch):
    save(checkpoints, 1)
    before = names(checkpoints.folder)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ppema.run.checkpoint.save_file", full)
    with pytest.raises(CheckpointError, match="could not be written: .*No space left"):
        save(checkpoints, 2)
    assert names(checkpoints.folder) == before
    assert checkpoints.find("last").path.name == "step-00000001"


def test_what_is_not_a_checkpoint_is_named(checkpoints, tmp_path):
    with pytest.raises(CheckpointError, match="last: there is no last checkpoint: train first"):
        checkpoints.find("last")
    with pytest.raises(CheckpointError, match="best: there is no best checkpoint: set train.monitor"):
        checkpoints.find("best")
    with pytest.raises(CheckpointError, match=r"manifest.json: No such file or directory: this is no checkpoint"):
        checkpoints.find(str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 2}', "\udcff"])
def test_a_damaged_manifest_is_refused(checkpoints, text):
    path = save(checkpoints, 1)
    (path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"manifest.json: (damaged|format)"):
        Checkpoint.open(path)


def test_damaged_arrays_are_refused(checkpoints):
    path = save(checkpoints, 1)
    file = path / "raw.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="raw.safetensors: "):
        Checkpoint.open(path).arrays("raw")
    file.unlink()
    with pytest.raises(CheckpointError, match="raw.safetensors: "):
        Checkpoint.open(path).arrays("raw")


def test_another_models_checkpoint_is_refused(checkpoints):
    save(checkpoints, 1)
    found = checkpoints.find("last")
    with pytest.raises(CheckpointError, match="it lacks variable 'b' and 1 more: it is another model's"):
        check_fits(found, RAW, ["w", "mean", "b", "c"])
    with pytest.raises(CheckpointError, match="it has the unknown variable 'mean'"):
        check_fits(found, RAW, ["w"])


def test_the_manifest_is_json_and_says_its_format(checkpoints):
    path = save(checkpoints, 1)
    assert json.loads((path / "manifest.json").read_text()) == {"format": 1, **MANIFEST}
