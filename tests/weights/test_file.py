"""Files of weights: arrays are read back as written, and other files are refused in one line."""

from __future__ import annotations

import json
import os
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from ppema.errors import CheckpointError, TrainingError
from ppema.weights.file import description, is_file, read_weights, write_weights

ARRAYS = {"w": np.array([[1.5, -2.0]], "float32"), "count": np.array(3)}


def test_what_is_written_comes_back(tmp_path):
    file = tmp_path / "folder/a.safetensors"
    write_weights(file, ARRAYS, step=450, what="sigma_rel 0.12 at step 450")
    read = read_weights(file)
    assert {name: (a.dtype, a.tolist()) for name, a in read.items()} == {n: (a.dtype, a.tolist()) for n, a in ARRAYS.items()}
    assert description(file) == "sigma_rel 0.12 at step 450"
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    assert header["__metadata__"] == {"format": "ppema weights 1", "step": "450", "what": "sigma_rel 0.12 at step 450"}
    assert os.listdir(file.parent) == ["a.safetensors"]


def test_any_safetensors_file_will_do(tmp_path):
    save_file(ARRAYS, tmp_path / "raw.safetensors")
    assert read_weights(tmp_path / "raw.safetensors").keys() == ARRAYS.keys()
    assert description(tmp_path / "raw.safetensors") == ""


def test_names_and_paths_are_told_apart():
    assert [is_file(each) for each in ("raw", "ema", "a.safetensors", "folder/a.safetensors")] == [False, False, True, True]


@pytest.mark.parametrize("read", [read_weights, description])
def test_what_can_not_be_read_is_named(tmp_path, read):
    file = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="a.safetensors: .*[Nn]o such file"):
        read(file)
    write_weights(file, ARRAYS, step=1, what="x")
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="a.safetensors: ") as caught:
        read(file)
    assert len(str(caught.value).splitlines()) == 1
    save_file(ARRAYS, file, metadata={"format": "ppema weights 2"})
    with pytest.raises(CheckpointError, match="its format is 'ppema weights 2'; this version of ppema reads 'ppema weights 1'"):
        read(file)


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "a.safetensors"
    write_weights(file, ARRAYS, step=1, what="x")
    before = file.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainingError, match="a.safetensors: the weights could not be written: .*No space left"):
        write_weights(file, {}, step=2, what="y")
    assert os.listdir(tmp_path) == ["a.safetensors"]
    assert file.read_bytes() == before
