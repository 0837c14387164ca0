"""Inputs in .npz archives: their names, types and values, in memory of one batch."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ppema.config.sections.transform_spec import TransformSpec
from ppema.data import Field
from ppema.data.given.npz_inputs import NpzInputs
from ppema.data.given.preparation import Preparation
from ppema.data.inputs import BatchTurns
from ppema.errors import DataError

X, IDS = Field((3,), "float32", "x"), Field((), "int64", "ids")
VALUES = np.arange(15.0).reshape(5, 3)


def read(source, size=2):
    return list(source.batches(size, BatchTurns()))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_batches_are_the_rows_by_name_and_converted(tmp_path, save):
    file = str(tmp_path / "a.npz")
    save(file, ids=np.arange(5, dtype=np.int32), x=VALUES, target=np.zeros(5))
    source = NpzInputs(file, Preparation((X, IDS)))
    batches = read(source)
    assert source.total == 5 and [len(batch.names) for batch in batches] == [2, 2, 1]
    assert batches[2].names == (f"{file}[4]",)
    for place, (expected, dtype) in enumerate([(VALUES, np.float32), (np.arange(5), np.int64)]):
        found = np.concatenate([batch.arrays[place] for batch in batches])
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == dtype


def test_other_names_count_in_order_only_if_nothing_else_is_there(tmp_path):
    file = str(tmp_path / "a.npz")
    np.savez(file, np.asfortranarray(VALUES), np.arange(5))
    batches = read(NpzInputs(file, Preparation((X, IDS))))
    np.testing.assert_array_equal(np.concatenate([batch.arrays[0] for batch in batches]), VALUES)
    np.savez(file, pixels=VALUES, y=np.arange(5))
    assert len(read(NpzInputs(file, Preparation((X,)), ["pixels"]), 9)[0].names) == 5  # as the run's own archives
    with pytest.raises(DataError, match=re.escape(f"{file}: no array 'x'; it has pixels, y")):
        NpzInputs(file, Preparation((X,)))
    np.savez(file, ids=np.arange(5), other=VALUES)  # in order, ids would be x
    with pytest.raises(DataError, match="no array 'x'"):
        NpzInputs(file, Preparation((X, IDS)))


def bad(**arrays):
    return lambda file: np.savez(file, **arrays)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: file.write_bytes(b""), ": it is no .npz archive"),
        (lambda file: file.write_bytes(b"name,x\n"), ": it is no .npz archive"),
        (bad(x=np.zeros((0, 3))), ": there are no samples in it"),
        (bad(x=VALUES, ids=np.arange(4)), ": the numbers of samples differ: x 5, ids 4"),
        (bad(x=np.array([{}])), ": array 'x' holds Python objects, not numbers"),
        (bad(x=np.float32(1)), ": array 'x' is one number: the first axis counts the samples"),
        (bad(x=VALUES[:, :2]), ": x: samples are float32 [2], the model takes float32 [3]"),
        (bad(x=VALUES.astype(int)), ": x: samples are int64 [3], the model takes float32 [3]"),
        (bad(x=VALUES.astype("uint8")), ": x: dtype uint8: return images as float32 in [0, 1], or ids as int64"),
        (bad(x=np.where(VALUES == 7, np.nan, VALUES)), "[2]: x holds nan"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_file(tmp_path, write, message):
    file = tmp_path / "a.npz"
    write(file)
    fields = (X, IDS) if "numbers of samples" in message else (X,)
    with pytest.raises(DataError) as raised:
        read(NpzInputs(str(file), Preparation(fields)), 5)
    assert str(raised.value).startswith(f"{file}{message}") and "\n" not in str(raised.value)


def test_a_damaged_row_is_an_error_and_not_a_number(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, x=np.random.default_rng(0).random((2000, 3)))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="damaged: BadZipFile: Bad CRC-32"):
        read(NpzInputs(str(file), Preparation((X,))), 100)


def test_samples_that_can_not_be_used_are_left_out_and_named(tmp_path):
    file = str(tmp_path / "a.npz")
    values = VALUES / 15
    values[1, 2], values[3, 0] = np.inf, 7.0
    np.savez(file, x=values.reshape(5, 1, 1, 3))
    field = Field((1, 1, 3), "float32", "x")
    random = TransformSpec(name="ColorJitter", args={"brightness": 0.5})
    with pytest.raises(DataError, match=re.escape("ColorJitter is random, and so would be the predictions: remove it")):
        read(NpzInputs(file, Preparation((field,), [random], on_error="skip")))
    (batch,) = read(NpzInputs(file, Preparation((field,), on_error="skip")), 5)
    assert batch.failed == ((f"{file}[1]", "x holds inf"),)
    np.testing.assert_array_equal(batch.arrays[0][:, 0, 0], values[[0, 2, 3, 4]].astype("float32"))
    grey = TransformSpec(name="support.transforms.failing", args={"above": 2})
    (batch,) = read(NpzInputs(file, Preparation((field,), [grey], on_error="skip")), 5)
    assert [name for name, _ in batch.failed] == [f"{file}[1]", f"{file}[3]"]
    np.testing.assert_array_equal(batch.arrays[0][:, 0, 0], values[[0, 2, 4]].astype("float32"))


def test_transforms_of_evaluation_apply(tmp_path):
    file = str(tmp_path / "a.npz")
    images = np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)
    np.savez(file, x=images)
    field = Field((1, 2, 2), "float32", "x")
    specs = [TransformSpec(name="CenterCrop", args={"size": 2}, fields=("x", "mask"))]
    (batch,) = read(NpzInputs(file, Preparation((field,), specs)), 3)
    np.testing.assert_array_equal(batch.arrays[0], images[:, :, 1:3, 1:3])
