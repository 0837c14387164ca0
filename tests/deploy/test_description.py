"""model.json: what is written is read back; damaged, later and foreign ones are refused in one line."""

from __future__ import annotations

import json

import pytest
from support.configs import CNN, loader

from ppema.data import Field
from ppema.deploy.description import (
    DescribedFigures,
    DescribedWeights,
    ModelDescription,
    check_files,
    described_inputs,
    described_outputs,
    read_description,
)
from ppema.errors import CheckpointError
from ppema.programs.prediction import build_prediction

FIELDS = (Field((1, 8, 8), "float32", "input_0"), Field((), "int64", "target", is_target=True))


@pytest.fixture(scope="module")
def prediction(tmp_path_factory):
    return build_prediction(loader(tmp_path_factory.mktemp("model"), CNN)(), FIELDS)


@pytest.fixture
def described(prediction, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    made = ModelDescription(
        name="digits",
        inputs=described_inputs(prediction),
        outputs=described_outputs(prediction, ["a", "b", "c"]),
        weights=DescribedWeights(name="ema", what="ema at step 14", step=14, schedule={"decay": 0.9}, window=10.0),
        metrics=DescribedFigures(label="data.eval", samples=21, weights={"ema": {"accuracy": 0.5, "loss": None}}),
        config={"seed": 3},
        versions={"ppema": "1", "paddle": "3"},
    ).with_files(tmp_path, ["a.bin"])
    (tmp_path / "model.json").write_text(made.to_json(), encoding="utf-8")
    return made


def test_what_is_written_is_read_back(described, tmp_path):
    found = read_description(tmp_path)
    assert found == described
    check_files(tmp_path, found)
    # sha256 of "abc" is the first example of FIPS 180-4.
    assert found.files["a.bin"].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (found.inputs[0].shape, found.inputs[0].dtype) == ([-1, 1, 8, 8], "float32")
    (output,) = found.outputs
    assert (output.name, output.shape, output.dtype, output.by, output.axis) == ("output", [-1, 3], "float32", "softmax", -1)
    assert output.classes == ["a", "b", "c"]


def test_results_are_probabilities(prediction):
    (output,) = described_outputs(prediction, results=True)
    assert (output.by, output.axis, output.meaning, output.classes) == ("none", -1, "probabilities", None)


def test_a_changed_file_is_refused(described, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abd")
    with pytest.raises(CheckpointError, match=r"a\.bin: damaged: its checksum is not that in model\.json$"):
        check_files(tmp_path, described)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: {**made, "format": "ppema model 2"}, "'ppema model 2'; this version of ppema reads 'ppema model 1'"),
        (lambda made: {"format": "other"}, "it is no description of an exported model"),
        (lambda made: [made], "it is no description of an exported model"),
        (lambda made: {**made, "weights": {"name": 3}}, "damaged: weights.name: Input should be a valid string"),
    ],
)
def test_others_are_refused_in_one_line(described, tmp_path, change, said):
    (tmp_path / "model.json").write_text(json.dumps(change(json.loads(described.to_json()))))
    with pytest.raises(CheckpointError) as found:
        read_description(tmp_path)
    assert str(found.value).startswith(f"{tmp_path / 'model.json'}: ") and str(found.value).endswith(said)


def test_a_folder_without_one_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"expected a folder that export wrote: it has no model\.json$"):
        read_description(tmp_path)
