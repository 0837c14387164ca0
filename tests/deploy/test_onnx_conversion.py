"""Conversion to ONNX: its outputs under onnxruntime, and why it can fail, in one line."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import static
from paddle.nn import functional

from ppema.deploy import onnx_conversion
from ppema.deploy.onnx_conversion import CONVERTER, CONVERTER_2_6, OnnxModel, check_installation, convert, converter
from ppema.errors import PpemaError, SetupError

ROOT = Path(__file__).parents[2]
OTHER = "can not read the programs of the installed paddle"
INSTALL = "pip install paddle2onnx=="
SUFFIX = ".pdmodel" if paddle.__version__.startswith("2.") else ".json"
installed = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("paddle2onnx", "onnx", "onnxruntime")),
    reason="paddle2onnx, onnx or onnxruntime is not installed: requirements-onnx*.txt",
)


def saved(folder: Path, network) -> tuple[Path, Path, dict[str, np.ndarray], list[np.ndarray]]:
    """The program of `network`, a function of images [N, 1, 4, 4], in files; seven samples, and its outputs for them."""
    main, startup = static.Program(), static.Program()
    executor, prefix = static.Executor(paddle.CPUPlace()), folder / "inference"
    with static.scope_guard(static.Scope()):
        with paddle.utils.unique_name.guard(), static.program_guard(main, startup):
            image = static.data("image", [-1, 1, 4, 4], "float32")
            outputs = network(paddle.nn.Conv2D(1, 2, 3, padding=1)(image))
        executor.run(startup)
        feed = {"image": np.random.default_rng(0).random((7, 1, 4, 4), dtype="float32")}
        values = executor.run(main, feed, outputs)
        static.save_inference_model(str(prefix), [image], outputs, executor, program=main)
    return prefix.with_suffix(SUFFIX), prefix.with_suffix(".pdiparams"), feed, values


@installed
def test_outputs_have_the_values_and_names_of_the_program(tmp_path, capfd):
    """Its interpolation has a scale in float64 on Paddle 3.3, and conversion leaves constants that nothing reads."""

    def network(hidden):
        doubled = functional.interpolate(hidden, scale_factor=2.0, mode="bilinear")
        return [doubled, functional.adaptive_avg_pool2d(hidden, 1).flatten(1)]

    program, parameters, feed, expected = saved(tmp_path, network)
    convert(program, parameters, tmp_path / "model.onnx", ["doubled", "image"])
    model = OnnxModel(tmp_path / "model.onnx")
    for samples in (1, 7):
        found = model.run({name: array[:samples] for name, array in feed.items()})
        assert [each.dtype for each in found] == [np.float32] * 2
        for value, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(value, right[:samples], rtol=0, atol=1e-6)
    assert model.outputs[0] == "doubled"
    assert model.outputs[1] != "image"  # that is an input
    assert capfd.readouterr() == ("", "")


@installed
@pytest.mark.campaign
def test_an_operator_that_it_lacks_is_named(tmp_path):
    square = lambda hidden: hidden.matmul(hidden, transpose_y=True) + paddle.eye(4)  # noqa: E731
    program, parameters, _, _ = saved(tmp_path, lambda hidden: [paddle.linalg.cholesky(square(hidden))])
    wrong = f"^ONNX: paddle2onnx {converter()} lacks the operator cholesky of this model: build the model without it, "
    with pytest.raises(PpemaError, match=f"{wrong}or export it as paddle$"):
        convert(program, parameters, tmp_path / "model.onnx", ["output"])


@installed
def test_the_reason_of_a_failure_is_one_line(tmp_path):
    (tmp_path / f"inference{SUFFIX}").write_text("nothing of a program")
    with pytest.raises(
        PpemaError, match=r"^ONNX: paddle2onnx \S+ can not convert this model \(.+\): export it as paddle$"
    ) as error:
        convert(tmp_path / f"inference{SUFFIX}", tmp_path / "inference.pdiparams", tmp_path / "model.onnx", ["output"])
    assert "\n" not in str(error.value)


@installed
def test_a_conversion_ends_after_its_time(tmp_path):
    with pytest.raises(
        PpemaError, match=r"^ONNX: paddle2onnx \S+ did not convert the model within 0.01 s: export it as paddle$"
    ):
        convert(tmp_path / f"inference{SUFFIX}", tmp_path / "none", tmp_path / "model.onnx", ["output"], seconds=0.01)


@pytest.mark.parametrize(
    ("missing", "found", "paddle_version", "message"),
    [
        ("onnxruntime", "2.1.0", "3.3.1", f"onnxruntime is not installed: {INSTALL}{CONVERTER}"),
        ("", "1.3.1", "3.3.1", f"paddle2onnx 1.3.1 {OTHER}: {INSTALL}{CONVERTER}"),
        (
            "",
            "2.1.0",
            "2.6.2",
            f"paddle2onnx 2.1.0 {OTHER}: {INSTALL}{CONVERTER_2_6}",
        ),
    ],
)
def test_what_is_to_be_installed_is_named(monkeypatch, missing, found, paddle_version, message):
    monkeypatch.setattr(onnx_conversion, "find_spec", lambda name: None if name == missing else object())
    versions = {"paddle2onnx": found, "paddlepaddle": paddle_version}
    monkeypatch.setattr("importlib.metadata.version", versions.__getitem__)
    with pytest.raises(SetupError, match=f"^ONNX: {re.escape(message)} 'onnx>=1.16.1,<=1.17' onnxruntime$"):
        check_installation()


def test_a_python_without_a_wheel_is_named(monkeypatch):
    monkeypatch.setattr(onnx_conversion, "find_spec", lambda name: None)
    monkeypatch.setattr("sys.version_info", (3, 14, 1))
    wrong = "paddle2onnx has no wheel for Python 3.14: export with Python 3.10 to 3.12, and there pip install paddle2onnx=="
    with pytest.raises(SetupError, match=wrong):
        check_installation()


def test_versions_are_the_same_in_all_files():
    lines = [line.partition(";")[0] for line in (ROOT / "requirements-onnx.txt").read_text().splitlines() if line[0] != "#"]
    assert lines[0] == f"paddle2onnx=={CONVERTER}"
    assert f"onnx = {lines}".replace("'", '"') in (ROOT / "pyproject.toml").read_text()
    assert f"\npaddle2onnx=={CONVERTER_2_6};" in (ROOT / "requirements-onnx-2.6.txt").read_text()
