"""`init_from` with weights of PyTorch, timm and Keras: the outputs are theirs, which foreign/record_foreign.py recorded."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from safetensors.numpy import save_file
from support.configs import CNN, blobs, data_section, loader
from support.device import device_place
from support.pages import blocks

from ppema.data import Field
from ppema.errors import ConfigError
from ppema.programs.prediction import build_prediction
from ppema.training.initial import begin_with
from ppema.training.setup import prepare_training

HERE = Path(__file__).parent / "foreign"
RECORDED = json.loads((HERE / "outputs.json").read_text(encoding="utf-8"))
spec = spec_from_file_location("record_foreign", HERE / "record_foreign.py")
theirs = module_from_spec(spec)
spec.loader.exec_module(theirs)

PAGE = [yaml.safe_load(block.text) for block in blocks("yaml", "docs/from-other-frameworks.md")]
SPECS = {block["init_from"]["path"].split(".")[0]: block["init_from"] for block in PAGE if "init_from" in block}
VIT = "{name: support.foreign.VisionTransformer, args: {size: 16, patch: 8, width: 12, depth: 2, heads: 3, classes: 5}}"
MODELS = {
    "resnet18": "{name: paddle.vision.models.resnet18, args: {num_classes: 10}}",
    "vit": VIT,
    "net": "support.foreign.OfKeras",
}


def prepared(name, folder, format=None, **keys):
    """A run that begins with the weights of the other framework, and the keys of `init_from` on the page of docs."""
    shapes = {key: tuple(shape) for key, shape in RECORDED[name]["shapes"].items()}
    weights = theirs.drawn(shapes, -1 if name == "net" else 0)
    save_file(weights, folder / "x.safetensors", None if format is None else {"format": format})
    begin = {**SPECS[name], "path": str(folder / "x.safetensors"), **keys}
    channels, *size = theirs.IMAGES[name][1:]
    sets = [blobs("samples: 2, batch_size: 2").replace("[1, 8, 8]", str([channels, *size]))] * 2
    sections = {"model": MODELS[name], "data": data_section(*sets), "optimizer": "SGD", "averages": "{}"}
    run = prepare_training(loader(folder, CNN, **sections, init_from=json.dumps(begin))())
    return run, begin_with(run)


@pytest.mark.parametrize(("name", "format"), [("resnet18", "pt"), ("vit", "pt"), ("net", None)])
def test_the_outputs_are_those_of_the_other_framework(name, format, tmp_path):
    run, restored = prepared(name, tmp_path, format)
    assert restored.found.missing == restored.found.left == [] and not restored.found.unexpected
    image, label = Field(theirs.IMAGES[name][1:], "float32", "input_0"), Field((), "int64", "target", is_target=True)
    made = build_prediction(run.config, [image, label])
    with paddle.static.scope_guard(run.scope):
        feed = {made.inputs[0].name: theirs.images(name)}
        (found,) = paddle.static.Executor(device_place()).run(made.program, feed, [*made.outputs.values()])
    expected = np.array(RECORDED[name]["outputs"])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    summary, *details = restored.summary()
    transposed = {"resnet18": 1, "vit": 9, "net": 3}[name]
    assert f"({transposed} transposed, 0 cast, 0 missing" in summary and "0 left out" in summary
    if name == "resnet18":
        assert summary.endswith("20 ignored)") and details[0] == "init_from: transposed: fc.weight"
        rows = restored.rows()
        assert ("linear_0.w_0", "loaded, transposed [1, 0]", "fc.weight") in rows
        assert ("", "ignored: [] int64", "bn1.num_batches_tracked") in rows


@pytest.mark.parametrize("format", ["pt", None])
def test_a_square_matrix_of_timm_does_not_enter_as_it_is(format, tmp_path):
    with pytest.raises(ConfigError) as caught:
        prepared("vit", tmp_path, format, transpose=["(qkv|fc1|fc2|head).weight$"])
    assert "transpose: 'blocks.0.attn.proj.weight' [12, 12], 'blocks.1.attn.proj.weight' [12, 12] of" in str(caught.value)
