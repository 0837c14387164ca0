"""Exported weights: Paddle's predictions with them match our own evaluation, and ppema reads them back."""

from __future__ import annotations

import os

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file
from support.configs import CNN, loader
from support.paddle_alone import predict_dynamic, predict_static
from support.runs import last

from ppema.api import evaluate
from ppema.checkpoint.paths import checkpoints_of, output_of
from ppema.config import RAW
from ppema.data.sets.synthetic import synthetic
from ppema.deploy.description import parse_description
from ppema.deploy.weights_export import Exported
from ppema.deploy.weights_export import export_arrays as export
from ppema.errors import CheckpointError, PpemaError, TrainingError
from ppema.evaluation.evaluate import evaluate as measure
from ppema.training.initial import begin_with
from ppema.training.loop import train
from ppema.training.setup import prepare_training
from ppema.weights.file import description, model_in
from ppema.weights.pdparams import read_pdparams


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The config of a finished run of 14 steps. Its folder holds the inputs of the evaluation as images.npy."""
    folder = tmp_path_factory.mktemp("export")
    made = loader(folder, CNN)
    train(made("seed=3", "train.monitor=ema/accuracy"))
    data = synthetic(21, [1, 8, 8], 3, split="test")
    np.save(folder / "images.npy", np.stack([data[index][0] for index in range(21)]))
    np.save(folder / "labels.npy", np.array([data[index][1] for index in range(21)]))
    return lambda *overrides: made("seed=3", "train.monitor=ema/accuracy", *overrides)


@pytest.fixture
def folder(config):
    return output_of(config()).parent


def measures(logits, labels):
    """Mean cross entropy and accuracy in float64."""
    logits = logits.astype("float64")
    logits -= logits.max(axis=1, keepdims=True)
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return {"loss": -log[range(len(labels)), labels].mean(), "accuracy": (logits.argmax(axis=1) == labels).mean()}


def close(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(abs(ours[name] - theirs[name]) <= 1e-6 for name in ours), (ours, theirs)


def test_paddle_in_dynamic_mode_predicts_what_was_evaluated(config, folder, tmp_path):
    export(config(), tmp_path / "ema.pdparams", weights="ema")
    *lost, table = predict_dynamic(tmp_path / "ema.pdparams", folder / "images.npy", tmp_path / "logits.npy")
    assert lost == [[], []]
    assert table == checkpoints_of(config()).find("last").manifest.structured
    found = measures(np.load(tmp_path / "logits.npy"), np.load(folder / "labels.npy"))
    close(found, evaluate(config(), "ema")["ema"])


def test_paddle_in_a_static_program_predicts_what_was_evaluated(config, folder, tmp_path):
    export(config(), tmp_path / "ema.pdparams", weights="ema", names="variables")
    predict_static(tmp_path / "ema.pdparams", folder / "images.npy", tmp_path / "logits.npy")
    found = measures(np.load(tmp_path / "logits.npy"), np.load(folder / "labels.npy"))
    close(found, evaluate(config(), "ema")["ema"])


@pytest.mark.parametrize(
    ("name", "names", "weights"),
    [
        ("x.safetensors", "variables", "ema"),
        ("x.safetensors", "places", "measured"),
        ("x.pdparams", "variables", "raw"),
        ("x.pdparams", "places", "ema"),
    ],
)
def test_a_run_that_begins_with_it_evaluates_the_same(config, tmp_path, name, names, weights):
    """A run from an export begins at step 0 with equal measures, bit for bit: both evaluate one program on equal weights."""
    export(config(), tmp_path / name, weights=weights, names=names)
    run = prepare_training(config(f"init_from.path={tmp_path / name}", f"output={tmp_path / 'run'}"))
    restored = begin_with(run)
    assert restored is not None and len(restored.found.loaded) == 7 and not restored.found.unexpected
    with paddle.static.scope_guard(run.scope):
        found = measure(run.executor, run.tests[RAW], run.programs.model.inputs, run.eval_loader)
    assert found == evaluate(config(), weights)[weights]


def test_safetensors_are_the_checkpoints_bytes(config, tmp_path):
    file = tmp_path / "deep/raw.safetensors"
    done = export(config(), file)
    assert done == Exported(str(file), "safetensors", "variables", "raw at step 14", 7)
    ours, theirs = load_file(file), load_file(last(output_of(config())) / "raw.safetensors")
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in ours.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in theirs.items()
    }
    assert description(file) == "raw at step 14"
    assert evaluate(config(), file) == {str(file): evaluate(config(), "raw")["raw"]}
    assert os.listdir(file.parent) == ["raw.safetensors"]


def test_a_file_of_weights_is_exported_under_the_places_of_its_run(config, tmp_path):
    export(config(), tmp_path / "a.safetensors", weights="ema", checkpoint="best")
    done = export(config(), tmp_path / "b.pdparams", weights=tmp_path / "a.safetensors")
    assert done == Exported(str(tmp_path / "b.pdparams"), "pdparams", "places", "ema at step 14", 7)
    export(config(), tmp_path / "c.pdparams", weights="ema")
    assert (tmp_path / "b.pdparams").read_bytes() == (tmp_path / "c.pdparams").read_bytes()
    # An export by variables' names needs no run.
    export(config(f"output={tmp_path}"), tmp_path / "d.safetensors", weights=tmp_path / "a.safetensors")
    assert load_file(tmp_path / "d.safetensors").keys() == load_file(tmp_path / "a.safetensors").keys()
    assert description(tmp_path / "d.safetensors") == "ema at step 14"


def test_the_export_of_an_export_is_the_same_and_replaces_it(config, tmp_path):
    file = tmp_path / "a.safetensors"
    export(config(), file, weights="ema")
    before = load_file(file)
    export(config(), file, weights=file)
    after = load_file(file)
    assert all(before[name].tobytes() == after[name].tobytes() for name in before) and before.keys() == after.keys()


def test_the_metadata_describes_the_model_and_goes_on_with_the_weights(config, tmp_path):
    export(config(), tmp_path / "a.safetensors", weights="ema")
    export(config(), tmp_path / "b.safetensors", weights=tmp_path / "a.safetensors")
    texts = [model_in(tmp_path / f"{name}.safetensors") for name in "ab"]
    assert texts[0] == texts[1] is not None
    found, manifest = parse_description(texts[0] or "", "a"), checkpoints_of(config()).find("last").manifest
    assert (found.weights.name, found.weights.step, found.metrics.weights) == ("ema", 14, manifest.metrics)
    assert [(each.name, each.shape) for each in found.inputs] == [("input_0", [-1, 1, 8, 8])]
    assert found.config == manifest.config


def test_tied_weights_have_every_place(tmp_path):
    config = loader(tmp_path, CNN, model="support.models.SharedByName", averages="{ema: {decay: 0.9}}")
    train(config("train.stop_after=2 steps"))
    export(config(), tmp_path / "a.pdparams")
    found = read_pdparams(tmp_path / "a.pdparams")
    assert np.array_equal(found["layers.0.weight"], found["layers.1.weight"])
    run = prepare_training(config(f"init_from.path={tmp_path / 'a.pdparams'}", f"output={tmp_path / 'other'}"))
    begin_with(run)
    assert run.read()[RAW]["shared"].tobytes() == found["layers.0.weight"].tobytes()


@pytest.mark.parametrize(
    ("to", "keys", "said"),
    [
        ("x.npz", {}, "to: x.npz: expected a name that ends in .safetensors or .pdparams"),
        ("x.pdparams", {"format": "safetensors"}, "to: x.pdparams: a file of format safetensors ends in .safetensors"),
        ("x", {"format": "onnx"}, "format: expected safetensors or pdparams, got 'onnx'"),
        ("x.pdparams", {"names": "both"}, "names: expected variables or places, got 'both'"),
        ("a_folder.pdparams", {}, "to: a_folder.pdparams: it is a folder: name a file in it"),
        (
            "run/checkpoints/step-00000014/raw.safetensors",
            {},
            "to: run/checkpoints/step-00000014/raw.safetensors: it would be a part of the checkpoint in that folder: choose "
            "another one",
        ),
        (
            "x.safetensors",
            {"weights": "other.safetensors", "checkpoint": "last"},
            "checkpoint: other.safetensors is a file of weights: leave it out",
        ),
    ],
)
def test_arguments_that_make_no_sense(config, folder, monkeypatch, to, keys, said):
    monkeypatch.chdir(folder)
    (folder / "a_folder.pdparams").mkdir(exist_ok=True)
    before = sorted(folder.rglob("*"))
    (folder / "other.safetensors").write_bytes((last(output_of(config())) / "raw.safetensors").read_bytes())
    with pytest.raises(PpemaError) as caught:
        export(config(), to, **keys)
    assert str(caught.value) == said
    (folder / "other.safetensors").unlink()
    assert sorted(folder.rglob("*")) == before


def test_weights_that_are_not_there(config, tmp_path):
    with pytest.raises(CheckpointError, match="there are no weights 'other'; there are raw, ema, tensorflow, measured$"):
        export(config(), tmp_path / "x.pdparams", weights="other")
    with pytest.raises(CheckpointError, match="nowhere.safetensors: No such file or directory$"):
        export(config(), tmp_path / "x.safetensors", weights="nowhere.safetensors")
    with pytest.raises(CheckpointError, match="there is no last checkpoint: train first$"):
        export(config(f"output={tmp_path}"), tmp_path / "x.pdparams")
    export(config(), tmp_path / "p.safetensors", names="places")
    with pytest.raises(CheckpointError, match="its 'batch_norm2d_0.b_0' is not among the weights: they are another model's$"):
        export(config(), tmp_path / "x.pdparams", weights=tmp_path / "p.safetensors")
    assert os.listdir(tmp_path) == ["p.safetensors"]


@pytest.mark.parametrize("name", ["x.safetensors", "x.pdparams"])
def test_a_write_that_fails_leaves_what_was_there(config, tmp_path, monkeypatch, name):
    file = tmp_path / name
    file.write_bytes(b"before")

    def full(*arguments, **keys):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=f"{name}: the weights could not be written: .*No space left"):
        export(config(), file)
    assert os.listdir(tmp_path) == [name] and file.read_bytes() == b"before"
