"""Checkpoints on disk: whole or not there, pruned but for the newest and the best, refused when they do not fit."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ppema.errors import CheckpointError, TrainingError
from ppema.run.best import Best
from ppema.run.checkpoint import Checkpoint, Checkpoints, check_fits
from ppema.run.manifest import Manifest, Position, SavedAverage

RAW = {"w": np.array([[1.5, -2.0]], "float32"), "mean": np.array(3.0, "float32")}
AVERAGE = {"w/ema": np.array([[0.5, 0.25]], "float32"), "ema/count": np.array(7), "ema/weight": np.array(0.125)}
SAVED = SavedAverage(shadow_of={"w": "w/ema"}, count="ema/count", weight="ema/weight")
MANIFEST = Manifest(
    format=1,
    ppema="0.1.0",
    paddle="3.3.1",
    threads=2,
    state=Position(step=5, epoch=1, batch=2, samples=40),
    lr={"last_epoch": 5, "last_lr": 0.1},
    best=Best("ema/accuracy", 0.5, 4),
    metrics={"raw": {"loss": None, "accuracy": 0.25}},
    averages={"ema": SAVED},
    structured={"0.weight": "w"},
    config={"seed": 0},
)


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


def test_the_last_ones_are_those_that_were_saved_last(checkpoints):
    for step in range(1, 6):
        save(checkpoints, step, best=step == 2)
    assert [each.path.name for each in checkpoints.newest(2)] == ["step-00000004", "step-00000005"]
    with pytest.raises(CheckpointError, match="the last 3 checkpoints were asked for, and 2 are there: train.keep"):
        checkpoints.newest(3)


def test_steps_of_nine_digits_come_after_those_of_eight(checkpoints):
    for step in (99_999_999, 100_000_000, 100_000_001):
        save(checkpoints, step)
    assert names(checkpoints.folder) == ["last", "step-100000000", "step-100000001"]


def test_saving_a_step_again_replaces_it(checkpoints):
    save(checkpoints, 1)
    path = checkpoints.save(1, {"raw": {"w": RAW["w"] + 1}}, MANIFEST, best=False)
    assert names(path) == ["manifest.json", "raw.safetensors"]
    assert checkpoints.find("last").arrays("raw")["w"].tolist() == [[2.5, -1.0]]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error: No space left")])
def test_a_write_that_fails_leaves_the_earlier_ones(checkpoints, monkeypatch, error):
    save(checkpoints, 1)
    before = names(checkpoints.folder)

    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr("ppema.run.folder.save_file", full)
    with pytest.raises(TrainingError, match="could not be written: .*No space left"):
        save(checkpoints, 2)
    assert names(checkpoints.folder) == before
    assert checkpoints.find("last").path.name == "step-00000001"


def test_what_is_not_a_checkpoint_is_named(checkpoints, tmp_path):
    with pytest.raises(CheckpointError, match="last: there is no last checkpoint: train first"):
        checkpoints.find("last")
    with pytest.raises(CheckpointError, match="best: there is no best checkpoint: set train.monitor"):
        checkpoints.find("best")
    with pytest.raises(CheckpointError, match=r"elsewhere: there is no such folder; a checkpoint is 'last', 'best' or"):
        checkpoints.find(str(tmp_path / "elsewhere"))
    with pytest.raises(CheckpointError, match=r"manifest.json: No such file or directory: this is no checkpoint"):
        checkpoints.find(str(tmp_path))


def test_last_is_named_only_once_the_folder_is_whole(checkpoints, monkeypatch):
    save(checkpoints, 1)

    def fail(self, target):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pathlib.Path.rename", fail)
    with pytest.raises(TrainingError, match="could not be written"):
        save(checkpoints, 2)
    assert checkpoints.find("last").path.name == "step-00000001"


def test_an_interrupted_write_leaves_no_half_folder(checkpoints, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("ppema.run.folder.save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(checkpoints, 1)
    assert names(checkpoints.folder) == []


def changed(**values):
    return json.dumps({**json.loads(MANIFEST.model_dump_json()), **values})


DAMAGED = {
    "empty": "",
    "cut": "{",
    "a list": "[]",
    "no json": "\udcff",
    "deep": "[" * 100_000,
    "format alone": '{"format": 1}',
    "format 2": changed(format=2),
    "state": changed(state={"step": "x", "epoch": 0, "batch": 0, "samples": 0}),
    "negative": changed(state={"step": -1, "epoch": 0, "batch": 0, "samples": 0}),
    "average": changed(averages={"ema": {}}),
    "best": changed(best={"a": 1}),
    "lr": changed(lr=5),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_manifest_is_refused_in_one_line(checkpoints, text):
    path = save(checkpoints, 1)
    (path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"manifest.json: damaged, or of another format: ") as caught:
        Checkpoint.open(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"../../elsewhere", b"step-1/..", b"step-00000001\nstep-00000002"])
def test_a_damaged_pointer_is_refused(checkpoints, content):
    save(checkpoints, 1)
    (checkpoints.folder / "last").write_bytes(content)
    with pytest.raises(CheckpointError, match="last: damaged: it names no checkpoint"):
        checkpoints.find("last")


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
        check_fits(found.path, RAW, ["w", "mean", "b", "c"])
    with pytest.raises(CheckpointError, match="it has the unknown variable 'mean'"):
        check_fits(found.path, RAW, ["w"])


def test_the_manifest_comes_back(checkpoints):
    save(checkpoints, 1)
    assert checkpoints.find("last").manifest == MANIFEST


def test_an_average_that_lacks_a_shadow_is_named(checkpoints):
    path = save(checkpoints, 1)
    save_file({"ema/count": np.array(7)}, path / "average-ema.safetensors")
    with pytest.raises(CheckpointError, match="average-ema.safetensors: it lacks variable 'w/ema'"):
        checkpoints.find("last").weights("ema")


def test_half_weights_keep_their_bits_and_get_an_average_rounded_to_their_type(checkpoints):
    raw = {"f": np.array([1.5], "float16"), "g": np.array([0x3F80], "uint16"), "d": np.array([0.1])}
    shadows = {
        "f/ema": np.array([1.2345678], "float32"),
        "g/ema": np.array([1.2345678], "float32"),
        "d/ema": np.array([0.3]),
    }
    saved = SavedAverage(shadow_of={name: f"{name}/ema" for name in raw}, count="ema/count", weight="ema/weight")
    manifest = MANIFEST.model_copy(update={"averages": {"ema": saved}})
    path = checkpoints.save(5, {"raw": raw, "average-ema": shadows}, manifest, best=False)
    found = checkpoints.find("last")
    read = found.arrays("raw")
    assert {name: (value.dtype, value.tobytes()) for name, value in read.items()} == {
        name: (value.dtype, value.tobytes()) for name, value in raw.items()
    }
    weights = found.weights("ema")
    assert weights["f"].dtype == np.float16 and weights["f"].tolist() == [1.234375]
    assert weights["g"].dtype == np.uint16 and weights["g"].tolist() == [0x3F9E]
    assert weights["d"].dtype == np.float64 and weights["d"].tolist() == [0.3]
    with safe_open(path / "raw.safetensors", framework="np") as file:
        assert file.metadata() == {"g": "bfloat16"}
    with safe_open(path / "average-ema.safetensors", framework="np") as file:
        assert file.metadata() is None
