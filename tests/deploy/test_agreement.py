"""Exports of whole networks agree with evaluation, under paddle.inference and load_inference_model, folded or not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

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
    for fold in (False, True):
        done = export_program(config, tmp_path / "model", weights="ema", fold=fold)
        assert max(each.greatest for each in done.compared) <= 1e-5
        if fold:
            assert done.folded is not None and done.folded.left == 0
            assert norms is None or sum(done.folded.by.values()) == norms
        described = read_description(tmp_path / "model")
        position = [each.name for each in described.outputs].index("mask" if config.losses else "output")
        onednn = done.compared[1].by == "paddle.inference"
        assert onednn or name == "unet"
        prefix = tmp_path / "model/inference"
        for run in (by_load_inference_model(prefix), by_inference(prefix, 1, onednn=onednn)):
            total = count = 0
            with closing(eval_loader(config)) as loader:
                for batch in loader.epoch(0):
                    output = run({described.inputs[0].name: batch.arrays[0]})[position]
                    values = first(output)
                    total, count = total + values.sum(), count + len(values)
            assert total / count == pytest.approx(expected, rel=1e-5, abs=1e-5)


def first(output: np.ndarray) -> np.ndarray:
    """The first number of each prediction, as `support.metrics.first_output`, in float64."""
    return output[:, 0].reshape(-1).astype(np.float64)
