"""A program that takes the bytes of pictures computes what the tool computes from picture files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image
from support.configs import SMALL, loader
from support.device import device_place

from ppema.data.pictures.preprocessing import Preprocessing
from ppema.errors import ConfigError
from ppema.programs.loaders import eval_loader
from ppema.programs.prediction import build_prediction

ARITHMETIC = "[Grayscale, {name: Normalize, args: {mean: 0.4, std: 0.3}}, {name: Grayscale, args: {num_output_channels: 3}}]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two classes of RGB pictures, 9 x 7 pixels, and a config that reads them as 8 x 6 (height x width)."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for number in range(2):
            Image.fromarray(rng.integers(0, 256, (9, 7, 3), "uint8")).save(folder / name / f"{number}.png")
    return folder


def loaded(folder: Path, transforms: str = ARITHMETIC):
    spec = f"{{name: image_folder, path: {folder}, size: [8, 6], batch_size: 2, transforms: {transforms}}}"
    model = "{name: cnn, args: {in_channels: 3, num_classes: 2, widths: [4]}}"
    data = f"\n  train: {spec}\n  eval: {spec}\n  normalize: {{input_0: {{mean: [0.5], std: [2.0]}}}}"
    return loader(folder, SMALL, model=model, data=data)()


def test_probabilities_of_bytes_are_those_of_files(folder):
    config = loaded(folder)
    fields = eval_loader(config).fields
    preparation = Preprocessing.of(config, fields)
    plain, of_bytes = build_prediction(config, fields), build_prediction(config, fields, preparation)
    assert [(each.name, each.shape, each.dtype) for each in of_bytes.inputs] == [("input_0", (8, 6, 3), "uint8")]
    assert [each.name for each in of_bytes.parameters] == [each.name for each in plain.parameters]
    files = sorted(folder.glob("*/*.png"))
    prepared = np.stack([preparation.read(file) for file in files])
    resized = np.stack([np.asarray(Image.open(file).resize((6, 8), Image.Resampling.BILINEAR)) for file in files])
    executor = paddle.static.Executor(device_place())
    with paddle.static.scope_guard(paddle.static.Scope()):
        executor.run(plain.startup)
        (expected,) = executor.run(plain.program, {"input_0": prepared}, list(plain.results.values()))
        (found,) = executor.run(of_bytes.program, {"input_0": resized}, list(of_bytes.results.values()))
    assert len(np.unique(expected)) == expected.size
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_transform_that_moves_pixels_is_refused_by_name(folder):
    config = loaded(folder, "[{name: CenterCrop, args: {size: 4}}]")
    fields = eval_loader(config).fields
    wrong = r"data.eval.transforms.0: CenterCrop can not be a part of the exported program, only Normalize and Grayscale can: "
    with pytest.raises(ConfigError, match=f"{wrong}export without preprocess$"):
        build_prediction(config, fields, Preprocessing.of(config, fields))
