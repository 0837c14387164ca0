"""Exports of a run on pictures: ONNX, a folder with a model card, and programs that take the bytes of pictures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.configs import SMALL, loader
from test_onnx_conversion import installed

from ppema.deploy.description import check_files, read_description
from ppema.deploy.exporting import export
from ppema.deploy.inference import describe
from ppema.deploy.new_folder import check_folder
from ppema.deploy.onnx_conversion import OnnxModel, converter
from ppema.deploy.ready import ready_model
from ppema.errors import ConfigError, PpemaError, SetupError
from ppema.training.loop import train
from ppema.weights.file import model_in, read_weights, write_weights

NORMALIZE = "{name: Normalize, args: {mean: 0.5, std: 0.25}}"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The config of a finished run on RGB pictures, 9 x 7 pixels, that it resizes to 8 x 8."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog|<b>"):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(rng.integers(0, 256, (9, 7, 3), "uint8")).save(folder / "data" / name / f"{number}.png")
    spec = f"{{name: image_folder, path: {folder / 'data'}, size: [8, 8], batch_size: 8, transforms: [{NORMALIZE}]}}"
    made = loader(
        folder,
        SMALL,
        model="{name: cnn, args: {in_channels: 3, num_classes: 2, widths: [4]}}",
        data=f"\n  train: {spec}\n  eval: {spec}",
        lr="0.05",
        train="{epochs: 2}",
    )
    train(made())
    return made


@pytest.mark.campaign
@installed
def test_onnx_takes_bytes_of_pictures_and_gives_probabilities(config, tmp_path):
    """Compared with the preparation of files by Pillow and numpy, and the model, in batches of 1 and 7."""
    done = export(config(), tmp_path / "onnx", format="onnx", weights="ema", fold=True, preprocess=True)
    assert done.files == ["model.json", "model.onnx"]
    assert [(each.by, each.what) for each in done.compared] == [("onnxruntime", "8 samples of data.eval")]
    assert done.compared[0].greatest < 1e-5
    described = read_description(tmp_path / "onnx")
    check_files(tmp_path / "onnx", described)
    assert [(each.shape, each.dtype) for each in described.inputs] == [([-1, 8, 8, 3], "uint8")]
    assert described.versions["paddle2onnx"] == converter()
    model = OnnxModel(tmp_path / "onnx/model.onnx")
    assert model.outputs == tuple(each.name for each in described.outputs) == ("output",)

    files = sorted(Path(config().data.eval.path).glob("*/*.png"))[:7]
    pictures = np.stack([np.asarray(Image.open(file).resize((8, 8), Image.Resampling.BILINEAR)) for file in files])
    plain = ((pictures / np.float32(255) - np.float32(0.5)) / np.float32(0.25)).astype("float32").transpose(0, 3, 1, 2)
    scores = ready_model(config(), "ema").expected({"input_0": np.ascontiguousarray(plain)})[0].astype("float64")
    exact = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    for samples in (1, 7):
        (found,) = model.run({"input_0": pictures[:samples]})
        np.testing.assert_allclose(found, exact[:samples], rtol=0, atol=1e-5)


@pytest.mark.campaign
def test_the_lines_of_the_model_card_run_without_ppema(config, tmp_path):
    done = export(config(), tmp_path / "hub", format="hub", weights="ema", preprocess=True)
    assert (done.format, done.files[0]) == ("hub", "README.md")
    assert [each.by for each in done.compared] == ["load_inference_model", "paddle.inference"]
    text = (tmp_path / "hub/README.md").read_text()
    assert "| raw |" in text and "| ema |" in text
    assert "0 cat, 1 dog\\|\\<b\\>." in text
    check_files(tmp_path / "hub", written := read_description(tmp_path / "hub"))
    assert sorted(written.files) == sorted({*done.files} - {"model.json"})
    (tmp_path / "hub/README.md").write_text(f"{text}License: mine.\n")
    check_files(tmp_path / "hub", written)  # predict takes the model with an edited card
    with pytest.raises(
        PpemaError, match=r"hub: beside a former export it has README\.md \(edited\), which would be lost: move it"
    ):
        check_folder(tmp_path / "hub")
    (tmp_path / "hub/README.md").write_text(text)
    check_folder(tmp_path / "hub")
    (lines,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(lines.splitlines()) == 5
    shown = "\nimport sys; assert 'ppema' not in sys.modules; print(outputs[0].shape, float(outputs[0].sum()))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", lines + shown], cwd=tmp_path / "hub", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shape, total = done.stdout.splitlines()[-1].rsplit(" ", 1)
    assert shape == "(1, 2)"
    assert float(total) == pytest.approx(1, abs=1e-6)


def test_a_file_of_weights_keeps_the_names_of_classes(config, tmp_path):
    """Those in its metadata; without any, those of the run of the config."""
    file, bare, names = tmp_path / "ema.safetensors", tmp_path / "bare.safetensors", ["cat", "dog|<b>"]
    export(config(), file, weights="ema")
    assert json.loads(model_in(file) or "")["classes"] == names
    elsewhere = config(f"output={tmp_path / 'elsewhere'}")
    write_weights(bare, read_weights(file), step=None, what="")
    for made, weights, found in ((elsewhere, file, names), (config(), bare, names), (elsewhere, bare, None)):
        described = describe(ready_model(made, weights))
        assert (described.classes, described.outputs[0].classes) == (found, found)
    with pytest.raises(ConfigError, match=r"not those of the weights in .*ema\.safetensors: "):
        ready_model(config("data.classes=[a, b]"), file)


def test_what_can_not_be_exported_is_one_line(config, tmp_path, monkeypatch):
    with pytest.raises(
        PpemaError, match="^preprocess: it requires format paddle, onnx or hub: a file of arrays has no program$"
    ):
        export(config(), tmp_path / "x.safetensors", preprocess=True)
    crop = "data.eval.transforms=[{name: CenterCrop, args: {size: 8}}]"
    with pytest.raises(ConfigError, match=r"CenterCrop can not be a part of the exported program"):
        export(config(crop), tmp_path / "no", format="paddle", preprocess=True)
    points = "data.eval={name: synthetic, shape: [3, 8, 8], classes: 2, samples: 8, batch_size: 8, split: test}"
    with pytest.raises(PpemaError, match="^preprocess: synthetic has no picture files: leave it out$"):
        export(config(points), tmp_path / "no", format="paddle", preprocess=True)
    monkeypatch.setattr("ppema.deploy.onnx_conversion.find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"^ONNX: paddle2onnx is not installed"):
        export(config(), tmp_path / "no", format="onnx")
    assert list(tmp_path.iterdir()) == []
