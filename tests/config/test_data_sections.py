"""What the sections of data sets may say."""

import pytest
from support.config_values import DIGITS, MINIMAL, errors

from ppema.config import Config, Csv, Synthetic


def data_errors(**keys) -> list[str]:
    found = errors(data={"train": {"batch_size": 1, **keys}, "eval": DIGITS})
    assert all(line.startswith("data.train.") for line in found)
    return [line.removeprefix("data.train.") for line in found]


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        ({}, ["name: required key is missing"]),
        ({"name": 3}, ["name: expected a data set's name, got 3"]),
        ({"name": "digts"}, ["name: unknown data set 'digts'; did you mean 'digits'?"]),
        (
            {"name": "mnist", "batch_size": 0},
            [
                "name: unknown data set 'mnist'; known: digits, idx, image_folder, npz, csv, synthetic, any dotted path",
                "batch_size: expected an integer >= 1, got 0",
            ],
        ),
        ({"name": "digits", "split": "dev"}, ["split: expected 'train' or 'test', got 'dev'"]),
        ({"name": "digits"}, ["split: required key is missing"]),
        (
            {"name": "digits", "split": "test", "bach_size": 3, "shuffle": 1, "workers": -1},
            [
                "shuffle: expected true or false, got 1",
                "workers: expected an integer >= 0, got -1",
                "bach_size: unknown key; did you mean 'batch_size'?",
            ],
        ),
        (
            {"name": "image_folder", "path": "x", "size": [28], "channels": True},
            ["size: expected [height, width], two integers >= 1, got [28]", "channels: expected 1 or 3, got true"],
        ),
        ({"name": "npz", "path": "x", "inputs": []}, ["inputs: expected at least one item, got []"]),
        (
            {"name": "npz", "path": "x", "target": []},
            ["target: expected the name of an array, or a list of names, got []"],
        ),
        ({"name": "npz", "path": "x", "inputs": "x"}, ["inputs: expected a list, got 'x'"]),
        (
            {"name": "csv", "path": "x", "target": 1.5, "delimiter": "ab"},
            [
                "target: expected a column's name or its index, got 1.5",
                "delimiter: expected one character, got 'ab'",
            ],
        ),
        (
            {"name": "csv", "path": "x", "target": "y", "header": False},
            ["target: expected a column's index, as the file has no header, got 'y'"],
        ),
        (
            {"name": "synthetic", "samples": 0, "shape": [3, 0], "classes": 1, "noise": -0.1},
            [
                "samples: expected an integer >= 1, got 0",
                "shape.1: expected an integer >= 1, got 0",
                "classes: expected an integer >= 2, got 1",
                "noise: expected a number >= 0, got -0.1",
            ],
        ),
        (
            {"name": "synthetic", "samples": 2**63, "shape": [3, 10**16], "classes": 10**16, "workers": 1025},
            [
                "workers: expected an integer up to 1024, got 1025",
                "samples: expected an integer up to 1e15, got 9223372036854775808",
                "shape.1: expected an integer up to 1e15, got 10000000000000000",
                "classes: expected an integer up to 1e15, got 10000000000000000",
            ],
        ),
        ({"name": "pkg.Data", "args": {"n": [2**64]}}, ["args.n.0: expected an integer of 64 bits, got 18446744073709551616"]),
        ({"name": "pkg.Data", "arg": {}}, ["arg: unknown key; did you mean 'args'?"]),
    ],
)
def test_data_sets(keys, messages):
    assert data_errors(**keys) == messages


def test_good_data_sets():
    spec = {"name": "synthetic", "samples": 9, "shape": [1, 8, 8], "classes": 2, "batch_size": 3}
    table = {"name": "csv", "path": "x.csv", "target": -1, "header": False, "batch_size": 3}
    config = Config.model_validate({**MINIMAL, "data": {"train": spec, "eval": table}})
    assert config.data.train == Synthetic(samples=9, shape=(1, 8, 8), classes=2, batch_size=3)
    assert config.data.eval == Csv(path="x.csv", target=-1, header=False, batch_size=3)


AUTOENCODER = (
    "data.targets: expected at least one name, got []: for a loss on an input itself, return it twice, as (image, image), and "
    "name both: inputs: [image], targets: [copy]"
)
FIELD_NAME = "expected a name of letters, digits and '_', with no digit first, got"


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        ({"inputs": ["x"]}, ["data.inputs: requires targets: name all fields, or none"]),
        ({"targets": ["x"]}, ["data.targets: requires inputs: name all fields, or none"]),
        (
            {"inputs": "x", "targets": []},
            ["data.inputs: expected a list of names, got 'x'", AUTOENCODER],
        ),
        ({"inputs": ["a", "b", "a"], "targets": ["y"]}, ["data.inputs.2: 'a' is listed twice"]),
        (
            {"inputs": ["a", "b"], "targets": ["y", "b"]},
            ["data.targets.1: 'b' is an input already: give the target another name"],
        ),
        (
            {"inputs": ["1a", "", "linear_0.w_0"], "targets": [3]},
            [
                f"data.inputs.0: {FIELD_NAME} '1a'",
                f"data.inputs.1: {FIELD_NAME} ''",
                f"data.inputs.2: {FIELD_NAME} 'linear_0.w_0'",
                f"data.targets.0: {FIELD_NAME} 3",
            ],
        ),
        (
            {"inputs": ["text"], "targets": ["y"], "shapes": {"texts": [-1]}},
            ["data.shapes.texts: there is no field 'texts'; did you mean 'text'?"],
        ),
        (
            {"shapes": {"a": -1, "b": [0], "c": [True], "d": [-2, 3]}},
            [
                f"data.shapes.{name}: expected a list of integers >= 1, or -1 where batches differ, got {value}"
                for name, value in {"a": "-1", "b": "[0]", "c": "[true]", "d": "[-2, 3]"}.items()
            ],
        ),
        ({"collate": 3}, ["data.collate: expected a name or a mapping with a name, got 3"]),
    ],
)
def test_names_of_fields(keys, messages):
    assert errors(data={"train": DIGITS, "eval": DIGITS, **keys}) == messages


def test_arrays_of_npz_have_the_names_of_fields():
    npz = {"name": "npz", "path": "x", "batch_size": 1}
    data = {"train": npz, "eval": {**npz, "target": "other"}}
    unnamed = Config.model_validate({**MINIMAL, "data": data}).data
    named = Config.model_validate({**MINIMAL, "data": {**data, "inputs": ["a", "b"], "targets": ["c"]}}).data
    assert (unnamed.train.inputs, unnamed.train.targets) == (("x",), ("y",))
    assert (named.train.inputs, named.train.targets) == (("a", "b"), ("c",))
    assert (named.eval.inputs, named.eval.targets) == (("a", "b"), ("other",))


SPLIT = {"fold": 1, "of": 5}


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        ({}, ["data.eval: required key is missing"]),
        ({"eval": None}, ["data.eval: required key is missing"]),
        ({"eval": {"batch_size": 3}}, ["data.eval.name: required key is missing"]),
        ({"split": {"fraction": 1.5}}, ["data.split.fraction: expected a number in (0, 1), got 1.5"]),
        ({"split": {"fold": 5, "of": 5}}, ["data.split.fold: expected one of the 5 folds, 0 to 4, got 5"]),
        ({"split": {"fold": 1}}, ["data.split.of: required key is missing"]),
        ({"split": {"of": 1}}, ["data.split.of: expected an integer >= 2, got 1"]),
        (
            {"split": {"fraction": 0.2, "of": 5}},
            ["data.split.of: requires that fraction is not given: choose one"],
        ),
        ({"split": {}}, ["data.split: expected a fraction, or fold and of: {fraction: 0.1} or {fold: 0, of: 5}"]),
        (
            {"split": SPLIT, "eval": DIGITS},
            [
                "data.eval: data.split takes the samples of evaluations from data.train: set it to null, or give it only "
                "batch_size, workers, transforms"
            ],
        ),
        (
            {"split": SPLIT, "eval": {"shuffle": True}},
            ["data.eval.shuffle: unknown key; known keys: batch_size, workers, transforms"],
        ),
    ],
)
def test_a_split(data, messages):
    assert errors(data={"train": DIGITS, **data}) == messages


def test_a_split_replaces_the_data_of_evaluations():
    config = Config.model_validate({**MINIMAL, "data": {"train": DIGITS, "split": SPLIT, "eval": {"batch_size": 7}}})
    assert config.replace(seed=3).data == config.data
    assert config.data.eval.batch_size == 7


@pytest.mark.parametrize(
    ("normalize", "messages"),
    [
        (["a", "a", 3], ["1: 'a' is listed twice", "2: expected the name of an input, got 3"]),
        ({"a": {"mean": [1], "std": [0]}}, ["a.std.0: expected a number > 0 that float32 holds, got 0"]),
        ({"a": {"mean": [1e39], "std": [1]}}, ["a.mean.0: expected a number that float32 holds, got 1e+39"]),
        ({"a": {"mean": [1], "std": [1, 2]}}, ["a.std: expected as many numbers as in mean, 1, got 2"]),
        ({"a": {"mean": [], "std": []}}, ["a.mean: expected at least one item, got []"]),
        ({"a": 3, "b": {"mean": [1]}}, ["a: expected a mapping, got 3", "b.std: required key is missing"]),
    ],
)
def test_normalize(normalize, messages):
    found = errors(data={"train": DIGITS, "eval": DIGITS, "normalize": normalize})
    assert found == [f"data.normalize.{message}" for message in messages]


def test_normalize_with_another_value():
    for value in ([], {}, "yes", None):
        (line,) = errors(data={"train": DIGITS, "eval": DIGITS, "normalize": value})
        assert line.startswith(
            "data.normalize: expected true, false, a list of inputs, or a mapping of inputs to mean and std, "
        )
