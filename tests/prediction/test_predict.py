"""Predictions of runs: equal to evaluation, from every kind of input, with the run's own preparation of inputs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.configs import CNN, data_section, loader
from support.datasets import Texts

import ppema
from ppema.data.sets.synthetic import synthetic
from ppema.errors import CheckpointError, DataError, PpemaError, TrainingError

TEST = synthetic(21, (1, 8, 8), 3, 0.5, 0, "test").arrays


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose inputs are cropped, normalised, and read from archives that are gone afterwards."""
    folder = tmp_path_factory.mktemp("predicted")
    for part in ("train", "test"):
        images, labels = synthetic(50 if part == "train" else 21, (1, 8, 8), 3, 0.5, 0, part).arrays
        np.savez(folder / f"{part}.npz", x=np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))), y=labels)
    crop = "transforms: [{name: CenterCrop, args: {size: 8}}]"
    train, test = (f"{{name: npz, path: {folder}/{part}.npz, batch_size: 8, {crop}}}" for part in ("train", "test"))
    config = loader(
        folder, CNN, data=data_section(train, test) + "\n  normalize: true\n  classes: [red, green, blue]", metrics="[accuracy]"
    )("train={epochs: 2, monitor: tensorflow/accuracy}")
    ppema.train(config)
    measured = ppema.evaluate(config)
    inputs = dict(np.load(folder / "test.npz"))
    for part in ("train", "test"):
        (folder / f"{part}.npz").rename(folder / f"{part}.gone.npz")
    return config, measured, inputs, folder


@pytest.mark.parametrize("weights", ["raw", "ema", "measured"])
def test_predictions_have_the_figures_of_the_evaluation_though_the_data_of_the_run_is_gone(trained, weights):
    config, measured, inputs, folder = trained
    found = list(ppema.predict(config, folder / "test.gone.npz", weights=weights))
    assert {each.class_name for each in found} <= {"red", "green", "blue"}
    right = [each.label == label for each, label in zip(found, inputs["y"], strict=True)]
    assert np.mean(right) == pytest.approx(measured[weights]["accuracy"])
    losses = [-np.log(each.probabilities["output"][label]) for each, label in zip(found, inputs["y"], strict=True)]
    assert np.mean(losses, dtype=np.float64) == pytest.approx(measured[weights]["loss"], rel=1e-5)


def test_the_default_weights_are_the_monitored_ones_and_batches_do_not_matter(trained):
    config, _, inputs, folder = trained
    default = list(ppema.predict(config, {"input_0": inputs["x"]}))
    monitored = list(ppema.predict(config.output, folder / "test.gone.npz", weights="tensorflow", batch_size=5))
    raw = list(ppema.predict(config, inputs["x"], weights="raw"))
    assert [each.name for each in default[:2]] == ["[0]", "[1]"]
    values, same, other = (np.array([each.outputs["output"] for each in found]) for found in (default, monitored, raw))
    np.testing.assert_allclose(values, same, atol=1e-5)
    assert np.abs(values - other).max() > 1e-3


def test_a_file_of_weights_predicts_as_its_average(trained, tmp_path):
    config, _, inputs, _ = trained
    ppema.export(config, tmp_path / "ema.safetensors", weights="ema")
    file, average = (
        np.array([each.outputs["output"] for each in ppema.predict(config, inputs["x"], weights=weights)])
        for weights in (tmp_path / "ema.safetensors", "ema")
    )
    np.testing.assert_array_equal(file, average)


def test_inputs_of_another_unit_cause_one_warning(trained):
    config, _, inputs, _ = trained
    with pytest.warns(UserWarning, match="input_0: the mean of the first batch is .* that of the training data") as warned:
        assert len(list(ppema.predict(config, inputs["x"] * 255 + 127))) == 21
    assert len(warned) == 1


def test_outputs_that_are_nan_have_no_class(trained, tmp_path):
    config, _, inputs, _ = trained
    ppema.export(config, tmp_path / "ema.safetensors", weights="ema")
    arrays = load_file(tmp_path / "ema.safetensors")
    next(each for name, each in sorted(arrays.items()) if name.startswith("linear"))[..., 1] = np.nan
    save_file(arrays, tmp_path / "nan.safetensors")
    with pytest.raises(TrainingError, match=r"^\[0\]: the model's output 'output' is nan for finite inputs"):
        list(ppema.predict(config, inputs["x"], weights=tmp_path / "nan.safetensors"))


def test_what_is_wrong_is_refused_before_the_first_sample(trained):
    config, _, inputs, _ = trained
    x = inputs["x"]
    for wrong, options, message in [
        (x, {"weights": "nope"}, "there are no weights 'nope'; there are raw, ema, tensorflow, measured"),
        (x, {"batch_size": 0}, "batch_size: expected an integer >= 1, got 0"),
        (x, {"on_error": "ignore"}, "on_error: expected stop or skip, got 'ignore'"),
        (x, {"weights": "a.safetensors", "checkpoint": "last"}, "checkpoint: a.safetensors is a file of weights: leave it out"),
        ([], {}, "inputs: expected paths, an array, arrays by name, or a data set; got an empty list"),
        ({"x": x}, {}, "inputs: there is no input 'x'; the model takes input_0"),
        (x[:0], {}, "inputs: there are no samples"),
        ("gone.npz", {}, "gone.npz: no such file"),
        ("gone", {}, "gone: no such file or folder"),
        ("support.nothing", {}, "has no 'nothing'"),
    ]:
        with pytest.raises(PpemaError) as raised:
            ppema.predict(config, wrong, **options)
        assert message in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(CheckpointError, match="it is another model's"):
        ppema.predict(config.replace(model={"name": "mlp", "args": {"in_features": 64, "num_classes": 3}}), x)
    with pytest.raises(DataError) as raised:
        list(ppema.predict(config, np.repeat(x, 3, axis=1)))
    message = "samples are float32 [3, 8, 8] after the transforms of data.eval, the model takes float32 [1, 8, 8]"
    assert str(raised.value) == f"inputs: input_0: {message}"


class Unlabelled:
    """The first `count` test images. bad: the sample that can not be read."""

    def __init__(self, bad: int = -1, with_target: bool = False):
        self._bad, self._with_target = bad, with_target

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int):
        if index == self._bad:
            raise OSError("no such picture")
        image = TEST[0][index]
        return (image, 0) if self._with_target else image


def test_data_sets_are_read_with_and_without_targets(tmp_path):
    config = loader(tmp_path)("train.epochs=1")
    ppema.train(config)
    images = ppema.predict(config, TEST[0][:9])
    expected = np.array([each.outputs["output"] for each in images])
    for given in (Unlabelled(), Unlabelled(with_target=True)):
        found = [each.outputs["output"] for each in ppema.predict(config, given)]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    own = list(ppema.predict(config, "data.eval", batch_size=4))
    assert [each.name for each in own[::20]] == ["data.eval[0]", "data.eval[20]"]
    np.testing.assert_allclose([each.outputs["output"] for each in own[:9]], expected, atol=1e-6)
    assert len(list(ppema.predict(config, "data.train"))) == 50
    with pytest.raises(DataError, match="inputs: sample 5: OSError: no such picture"):
        list(ppema.predict(config, Unlabelled(bad=5)))
    with pytest.warns(UserWarning, match=re.escape("left out: inputs[5]: OSError: no such picture")):
        kept = list(ppema.predict(config, Unlabelled(bad=5), on_error="skip", batch_size=2))
    assert [each.name for each in kept] == [f"inputs[{index}]" for index in (0, 1, 2, 3, 4, 6, 7, 8)]


def test_samples_of_different_lengths_are_padded_as_in_the_run(tmp_path):
    model = "{name: support.task_models.BagOfWords, args: {vocabulary: 10}}"
    train = "{name: support.datasets.Texts, args: {samples: 16}, batch_size: 8, shuffle: true}"
    test = "{name: support.datasets.Texts, args: {samples: 10, seed: 1}, batch_size: 3}"
    text = "\n  inputs: [tokens]\n  targets: [label]\n  shapes: {tokens: [-1]}\n  collate: pad"
    config = loader(tmp_path, model=model, data=data_section(train, test) + text)("train.epochs=1")
    ppema.train(config)
    own, given = (list(ppema.predict(config, each)) for each in ("data.eval", Texts(10, 1)))
    assert len(own) == 10
    for one, two in zip(own, given, strict=True):
        np.testing.assert_array_equal(one.outputs["output"], two.outputs["output"])


def test_tokens_beyond_the_vocabulary_are_left_out_alone(tmp_path):
    """The other samples have the numbers that they have without the bad ones."""
    model = "{name: support.task_models.BagOfWords, args: {vocabulary: 10}}"
    train = "{name: support.datasets.Texts, args: {samples: 16}, batch_size: 8}"
    text = "\n  inputs: [tokens]\n  targets: [label]\n  shapes: {tokens: [-1]}\n  collate: pad"
    config = loader(tmp_path, model=model, data=data_section(train, train) + text)("train.epochs=1")
    ppema.train(config)
    ppema.export(config, tmp_path / "model", format="paddle", weights="raw")
    tokens = np.random.default_rng(0).integers(1, 10, (9, 5))
    bad = tokens.copy()
    bad[[1, 8], 2] = 10, -3
    for given, weights in ((config, "raw"), (None, tmp_path / "model")):
        expected = list(ppema.predict(given or config, tokens, weights=weights, batch_size=4))
        with pytest.raises(DataError, match=r"^\[1\]: an operation failed: .*\b10\b") as raised:
            list(ppema.predict(given or config, bad, weights=weights, batch_size=4))
        assert raised.value.exit_code == 2 and "\n" not in str(raised.value)
        with pytest.warns(UserWarning, match=r"left out: \[[18]\]: an operation failed") as warned:
            kept = list(ppema.predict(given or config, bad, weights=weights, batch_size=4, on_error="skip"))
        assert len(warned) == 2
        assert [each.name for each in kept] == [f"[{row}]" for row in (0, 2, 3, 4, 5, 6, 7)]
        for one in kept:
            same = next(each for each in expected if each.name == one.name)
            np.testing.assert_allclose(one.outputs["output"], same.outputs["output"], atol=1e-6)
