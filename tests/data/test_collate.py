"""The key data.collate: what it names, its arguments, and its use in worker processes."""

import numpy as np
import pytest
from support import collates
from support.config_values import MINIMAL
from support.where import where
from test_loader import same

from ppema.config import Config
from ppema.data import Layout, Loader, build_layout, build_loader
from ppema.data.layout import Padding
from ppema.errors import ConfigError, DataError

TEXTS = {"name": "support.datasets.Texts", "args": {"samples": 20}, "batch_size": 3, "shuffle": True}
SQUARES = {"name": "support.datasets.Squares", "args": {"samples": 4}, "batch_size": 2}


def section(spec=TEXTS, **keys):
    names = {"inputs": ["tokens"], "targets": ["label"], "shapes": {"tokens": [-1]}} if spec is TEXTS else {}
    return Config.model_validate({**MINIMAL, "data": {"train": spec, "eval": spec, **names, **keys}}).data


def loader(data, workers: int) -> Loader:
    spec = data.train.replace(workers=workers)
    return build_loader(spec, seed=3, label="data.train", layout=build_layout(data))


@pytest.mark.parametrize(
    "collate", ["pad", {"name": "pad", "args": {"values": {"tokens": 9}, "multiple_of": 4}}, "support.collates.padded"]
)
def test_the_same_batches_for_any_number_of_workers(collate):
    alone, many = (loader(section(collate=collate), workers) for workers in (0, 2))
    try:
        assert same(list(alone.epoch(2)), list(many.epoch(2)))
    finally:
        many.close()


def test_padding():
    data = section(collate={"name": "pad", "args": {"values": {"tokens": 9}, "multiple_of": 4}})
    assert build_layout(data).padding == Padding({"tokens": 9}, 4)
    assert build_layout(section(collate="pad")).padding == Padding({}, 1)
    assert build_layout(section()) == Layout(build_layout(section()).names, {"tokens": (-1,)})


@pytest.mark.parametrize("workers", [0, 2])
def test_a_class(workers):
    made = loader(section(SQUARES, collate={"name": "support.collates.Stack", "args": {"times": 3}}), workers)
    try:
        assert [batch.arrays[0].tolist() for batch in made.epoch(0)] == [[[0, 0], [3, 3]], [[6, 12], [9, 27]]]
    finally:
        made.close()


def test_a_function_that_raises_in_a_worker():
    made = loader(section(SQUARES, collate="support.collates.raising"), 1)
    place = where(collates, "raise ValueError(f")
    try:
        with pytest.raises(DataError) as caught:
            list(made.epoch(0))
    finally:
        made.close()
    assert str(caught.value) == f"data.train: data.collate of samples 0 ... 1: ValueError: 2 are too many ({place})"


def test_arrays_in_memory_pass_through_a_function():
    npz_like = {"name": "synthetic", "samples": 4, "shape": [2], "classes": 2, "batch_size": 2}
    data = section(npz_like, collate={"name": "support.collates.Stack", "args": {"times": 2}})
    plain, doubled = (loader(each, 0) for each in (section(npz_like), data))
    for one, two in zip(plain.epoch(0), doubled.epoch(0), strict=True):
        np.testing.assert_array_equal(2 * one.arrays[0], two.arrays[0])
    assert doubled.known is None


@pytest.mark.parametrize(
    ("collate", "message"),
    [
        ("pads", "collate.name: unknown collate 'pads'; did you mean 'pad'?"),
        ({"name": "pad", "args": {"value": 1}}, "collate.args.value: unknown argument of pad; did you mean 'values'?"),
        ({"name": "pad", "args": {"values": 1}}, "collate.args.values: expected a number for each name of a field, got 1"),
        ({"name": "pad", "args": {"values": {"x": "a"}}}, "collate.args.values.x: expected a number, got 'a'"),
        ({"name": "pad", "args": {"multiple_of": 0}}, "collate.args.multiple_of: expected an integer >= 1, got 0"),
        (
            {"name": "support.collates.shortened", "args": {"samples": 3}},
            "collate.args.samples: this argument of support.collates.shortened is set by ppema; remove it",
        ),
        ("support.collates.Stack", "collate.args.times: required argument of support.collates.Stack is missing"),
        (
            {"name": "support.collates.Stack", "args": {"times": 0}},
            f"collate.args: ValueError: times is 0 ({where(collates, 'times is 0')})",
        ),
        (
            "support.collates.NoCall",
            "collate.name: support.collates.NoCall makes objects that can not be called with a list of samples",
        ),
    ],
)
def test_refused(collate, message):
    with pytest.raises(ConfigError) as caught:
        build_layout(section(collate=collate))
    assert str(caught.value) == message
