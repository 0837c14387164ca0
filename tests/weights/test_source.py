"""Sources of weights: the names of their arrays, and the place that a message blames if they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest

from ppema.errors import CheckpointError
from ppema.ir import scope
from ppema.weights.put import put
from ppema.weights.source import by_place, open_source

A, B, C = (np.array([value], "float32") for value in (1.0, 2.0, 3.0))


def test_arrays_are_named_by_their_places_and_tied_ones_by_all_of_them():
    found = by_place({"w_0": A, "w_1": B, "fc": C}, {"body.weight": "w_0", "head.weight": "w_0", "bias": "w_1", "gone": "w_2"})
    assert {name: float(array[0]) for name, array in found.items()} == {
        "body.weight": 1.0,
        "head.weight": 1.0,
        "bias": 2.0,
        "fc": 3.0,
    }


def test_a_variable_is_not_taken_for_the_place_of_another():
    assert {name: float(array[0]) for name, array in by_place({"a": A, "b": B}, {"b": "a", "a": "b"}).items()} == {
        "b": 1.0,
        "a": 2.0,
    }


def test_what_does_not_fit_is_the_fault_of_where_it_comes_from_and_changes_nothing():
    where = paddle.static.Scope()
    where.var("x").get_tensor().set(A, paddle.CPUPlace())
    with pytest.raises(CheckpointError, match=r"^runs/a: .*\[2\].*: it is another model's$"):
        put(where, Path("runs/a"), {"x": np.zeros(2, "float32")})
    with pytest.raises(CheckpointError, match=r"^runs/a: .*y.*: it is another model's$"):
        put(where, Path("runs/a"), {"y": B})
    assert scope.get(where, "x").tolist() == [1.0]
    put(where, Path("runs/a"), {"x": B})
    assert scope.get(where, "x").tolist() == [2.0]


def test_a_file_of_another_framework_is_named(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"PK")
    with pytest.raises(CheckpointError) as caught:
        open_source(str(tmp_path / "x.pth"))
    assert str(caught.value) == f"{tmp_path}/x.pth: a file of PyTorch can not be read: save its weights as *.safetensors there"
