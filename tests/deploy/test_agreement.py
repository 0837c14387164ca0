"""Evaluation, prediction and exports of whole networks agree; exports under each of Paddle's two ways, folded or not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import ppema
from ppema.config import Config, load_config
from ppema.deploy.description import read_description
from ppema.deploy.inference import export_program
from ppema.deploy.loaded_back import by_inference, by_load_inference_model
from ppema.evaluation.stored import evaluate_stored
from ppema.programs.loaders import eval_loader
from ppema.training.loop import train

ROOT = Path(__file__).parents[2]
IMAGES = """
model: {name: %s, args: {num_classes: 3}}
data:
  train: {name: synthetic, samples: 16, shape: [3, 64, 64], classes: 3, batch_size: 8}
  eval: {name: synthetic, samples: 16, shape: [3, 64, 64], classes: 3, batch_size: 8, split: test}
optimizer: {name: Momentum, args: {momentum: 0.9}}
lr: 0.01
averages: {ema: {decay: 0.5}}
train: {epochs: 2}
"""
# For each network: the file of its config, or the text; and the number of BatchNorms, all of which fold.
NETWORKS = {
    "digits": (ROOT / "configs/digits_cnn.yml", 2),
    "resnet18": (IMAGES % "paddle.vision.models.resnet18", 20),
    "mobilenet_v2": (IMAGES % "paddle.vision.models.mobilenet_v2", 52),
    "unet": (ROOT / "examples/segmentation/config.yml", None),
    "transformer": (ROOT / "examples/text/config.yml", 0),
}


def trained(source: Path | str, folder: Path) -> Config:
    """The config of a run of two steps, whose metric is the mean of the first numbers of the model's outputs."""
    file = source if isinstance(source, Path) else folder / "network.yml"
    if isinstance(source, str):
        file.write_text(source)
    keys = ["train.stop_after=2 steps", f"output={folder / 'run'}", "train.monitor=ema/loss"]
    config = load_config(file, keys)
    train(config)
    output = "mask" if config.losses else "output"
    return load_config(file, [*keys, f"metrics=[{{name: support.metrics.first_output, output: {output}}}]"])


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each == "digits" else pytest.mark.campaign) for each in NETWORKS]
)
def test_an_export_agrees_with_evaluation(name, tmp_path):
    source, norms = NETWORKS[name]
    config = trained(source, tmp_path)
    expected = evaluate_stored(config, "ema")["ema"]["first_output"]
    key = "mask" if config.losses else "output"
    predicted = [each.outputs[key] for each in ppema.predict(config, "data.eval", weights="ema")]
    assert np.mean([first(each[None]) for each in predicted]) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    for fold in (False, True):
        done = export_program(config, tmp_path / "model", weights="ema", fold=fold)
        assert max(each.greatest for each in done.compared) <= 1e-5
        if fold:
            assert done.folded is not None and done.folded.left == 0
            assert norms is None or sum(done.folded.by.values()) == norms
        described = read_description(tmp_path / "model")
        position = [each.name for each in described.outputs].index(key)
        onednn = done.compared[1].by == "paddle.inference"
        assert onednn or name == "unet"
        prefix = tmp_path / "model/inference"
        for run in (by_load_inference_model(prefix), by_inference(prefix, 1, onednn=onednn)):
            with closing(eval_loader(config)) as loader:
                outputs = [run({described.inputs[0].name: batch.arrays[0]})[position] for batch in loader.epoch(0)]
            agree([sample for batch in outputs for sample in batch], predicted)
    with closing(eval_loader(config)) as loader:
        batch = next(loader.epoch(0))
    of_export = ppema.predict(tmp_path / "model", {described.inputs[0].name: batch.arrays[0]})
    agree([each.outputs[key] for each in of_export], predicted[: len(batch.indices)])


def agree(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Each sample to 1e-5, of the greatest number where that is above 1."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * max(1, np.abs(other).max()))


def first(output: np.ndarray) -> np.ndarray:
    """The first number of each prediction, as `support.metrics.first_output`, in float64."""
    return output[:, 0].reshape(-1).astype(np.float64)
