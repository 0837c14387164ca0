"""Whole networks as ONNX, on real samples of their data: the table of docs/onnx.md."""

from __future__ import annotations

import pytest
from support.commands import ROOT
from test_onnx_conversion import installed

import ppema
from ppema.deploy.exporting import export

EXAMPLES, DIGITS = ROOT / "examples", ROOT / "configs/digits_cnn.yml"
COLOURS = "{name: synthetic, shape: [3, 32, 32], classes: 10, samples: 16, batch_size: 8%s}"
# In the first steps, the statistics of its BatchNorms magnify rounding: then paddle.inference differs by as much.
COLOURED = (
    "train={steps: 20}",
    "lr=0.01",
    f"data.train={COLOURS % ', shuffle: true'}",
    f"data.eval={COLOURS % ', split: test'}",
)
NETWORKS = {
    "digits CNN": (DIGITS, ()),
    "ResNet-18": (DIGITS, ("model={name: paddle.vision.models.resnet18, args: {num_classes: 10}}", *COLOURED)),
    "MobileNetV2": (DIGITS, ("model={name: paddle.vision.models.mobilenet_v2, args: {num_classes: 10}}", *COLOURED)),
    "U-Net": (EXAMPLES / "segmentation/config.yml", ()),
    "TransformerEncoder": (EXAMPLES / "text/config.yml", ()),
}


@installed
@pytest.mark.campaign
@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_converts(name, tmp_path):
    file, overrides = NETWORKS[name]
    short = ("train={steps: 2}", "averages={ema: {decay: 0.5}}", f"output={tmp_path / 'run'}")
    config = ppema.load_config(file, [*short, *overrides])
    ppema.train(config)
    (compared,) = export(config, tmp_path / "onnx", format="onnx", weights="ema").compared
    assert compared.greatest < 1e-5
    assert f"\n| {name} | yes | yes |" in (ROOT / "docs/onnx.md").read_text(encoding="utf-8")
