"""Predictions of picture files: those of the data set that has the same files, under the names of its classes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import ppema
from ppema.config import load_config
from ppema.errors import ConfigError, DataError

CONFIG = """
model: {name: cnn, args: {in_channels: 3, num_classes: 3, widths: [4]}}
data:
  train: {name: image_folder, path: %(folder)s, size: [12, 10], batch_size: 4, shuffle: true}
  eval: {name: image_folder, path: %(folder)s, size: [12, 10], batch_size: 5}
  normalize: true
optimizer: {name: Momentum, args: {momentum: 0.9}}
lr: 0.05
averages: {ema: {decay: 0.5}}
metrics: [accuracy]
train: {epochs: 3, monitor: ema/accuracy}
output: %(run)s
"""


def trained(folder):
    """The config of a run on a folder of pictures of three classes, each with more of one colour."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("ant", "bee", "cat")):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 160, (16, 14, 3), np.uint8)
            pixels[..., label] += 90
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    (folder / "c.yml").write_text(CONFIG % {"folder": folder / "images", "run": folder / "run"})
    config = load_config(folder / "c.yml")
    ppema.train(config)
    return config


def test_they_are_those_of_the_data_set(tmp_path):
    config = trained(tmp_path)
    images = config.data.eval.path
    of_set = list(ppema.predict(config, "data.eval", weights="ema"))
    of_files = list(ppema.predict(config, images, weights="ema", batch_size=5))
    ppema.export(config, tmp_path / "model", format="paddle", weights="ema")
    of_export = list(ppema.predict(tmp_path / "model", images))
    assert len(of_files) == len(of_set) == 12
    for name in ("picture.dat", "picture", "data.eval"):
        (tmp_path / name).write_bytes((tmp_path / "images" / "ant" / "0.png").read_bytes())
        (alone,) = ppema.predict(config, tmp_path / name, weights="ema")
        np.testing.assert_allclose(alone.outputs["output"], of_files[0].outputs["output"], atol=1e-5)
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"notes\.txt: not an image"):
        list(ppema.predict(config, tmp_path / "notes.txt"))
    right = [each.name.split("/")[-2] == each.class_name for each in of_files]
    assert np.mean(right) == pytest.approx(ppema.evaluate(config, "ema")["ema"]["accuracy"])
    for one, other, exported in zip(of_files, of_set, of_export, strict=True):
        np.testing.assert_array_equal(one.outputs["output"], other.outputs["output"])
        np.testing.assert_allclose(exported.probabilities["output"], one.probabilities["output"], rtol=0, atol=1e-5)
        assert (one.class_name, exported.name) == (exported.class_name, one.name)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.normalize=false", "data.normalize: not that of the weights in .*: give true, for theirs"),
        ("data.classes=[bee, ant, cat]", "data.classes: not those of the weights in .*: class 0 is 'bee', not 'ant'; class 1"),
    ],
)
def test_another_meaning_of_inputs_or_labels_is_refused(tmp_path, override, said):
    """Evaluation, prediction and export would otherwise give other figures, or other names, in silence."""
    trained(tmp_path)
    changed = load_config(tmp_path / "c.yml", [override])
    for use in (
        lambda: ppema.evaluate(changed, "ema"),
        lambda: ppema.predict(changed, "data.eval"),
        lambda: ppema.export(changed, tmp_path / "model", format="paddle"),
    ):
        with pytest.raises(ConfigError, match=said):
            use()
