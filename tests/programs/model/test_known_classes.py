"""Names of classes: the data set's fill `data.classes`, stay with the run, and labels of other classes are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from support.configs import SMALL, blobs, data_section, loader
from support.datasets import Listed

from ppema.api import evaluate, predict, train
from ppema.checkpoint.checkpoint import Checkpoint
from ppema.checkpoint.manifest import sealed
from ppema.data.class_names import classes_of, names_in
from ppema.errors import CheckpointError, ConfigError
from ppema.log.run import run as read_run
from ppema.programs.loaders import eval_loader, train_loader
from ppema.programs.model.known_classes import check_same_classes, with_classes
from ppema.training.setup import prepare_training

SECTIONS = {
    "model": "support.task_models.Pixels",  # of 6 classes
    "optimizer": "SGD",
    "lr": "0.1",
    "averages": "{}",
    "train": "{epochs: 1}",
}
NAMES = ["ant", "bee", "cat", "dog", "elk", "fox"]
MEANING = "a label would mean another class"


@pytest.fixture
def written(tmp_path):
    def write(*overrides, **sections):
        return loader(tmp_path, SMALL, **{**SECTIONS, **sections})(f"output={tmp_path / 'run'}", *overrides)

    return write


@pytest.fixture
def photos(tmp_path):
    """Makes a folder of a picture for each name, and returns its section."""

    def make(folder, names):
        for number, name in enumerate(names):
            (tmp_path / folder / name).mkdir(parents=True)
            Image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(tmp_path / folder / name / "x.png")
        return f"{{name: image_folder, path: {tmp_path / folder}, size: [8, 8], channels: 1, batch_size: 3}}"

    return make


def refusal(call, *arguments):
    with pytest.raises((ConfigError, CheckpointError)) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_give_the_names_and_the_run_keeps_them(written, photos, tmp_path):
    data = data_section(photos("train", NAMES), photos("eval", NAMES))
    config = written(data=data)
    result = train(config)
    run = read_run(config.output)
    assert run.config.data.classes == classes_of(run.config) == tuple(NAMES)
    assert run.last.manifest.config["data"]["classes"] == NAMES
    assert config.data.classes is None
    assert train(config).state == result.state, "the finished run is resumed, with the same names"
    assert evaluate(config) == evaluate(run.config) == result.metrics

    # Predictions of files show them, though the config does not.
    found = list(predict(config, str(tmp_path / "eval")))
    assert [each.name for each in found] == [f"{tmp_path}/eval/{name}/x.png" for name in NAMES]
    assert [each.class_name for each in found] == [NAMES[each.label] for each in found]
    right = np.mean([each.label == label for label, each in enumerate(found)])
    assert right == pytest.approx(result.metrics["raw"]["accuracy"])

    # Other folders: neither an evaluation nor a resumed run may read their labels as those of the run.
    other = photos("other", ["ant", "bee", "cat", "deer", "elk", "fox"])
    mixed = written(data=data_section(photos("same", NAMES), other))
    said = f"data.eval: its classes are not those of the run (data.classes): no 'dog'; 'deer' in addition: {MEANING}"
    assert refusal(evaluate, mixed).endswith(said)
    said = refusal(train, written("train.epochs=2", data=data_section(other, other)))
    assert "it was trained with another config: data.train.path: was " in said
    assert "; data.classes: was ['ant', 'bee', 'cat', 'dog', 'elk', 'fox'], now ['ant', 'bee', 'cat', 'deer'" in said
    assert "choose another output" in said

    # A checkpoint of an earlier version has no names. It is resumed, and has them from then on.
    path = run.last.path
    manifest = Checkpoint.open(path).manifest
    del manifest.config["data"]["classes"]
    content, checksum = sealed(manifest)
    (path / "manifest.json").write_bytes(content)
    pointer = path.parent / "last"
    pointer.write_text(pointer.read_text().replace(manifest.checksum, checksum))
    assert evaluate(config) == result.metrics
    train(written("train.epochs=2", data=data))
    assert read_run(config.output).last.manifest.config["data"]["classes"] == NAMES


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (NAMES[:5], "no 'fox'"),
        ([*NAMES, "gnu"], "'gnu' in addition"),
        (["ant", "bee", "cat", "dog", "elk", "Fox"], "no 'fox'; 'Fox' in addition"),
    ],
)
def test_folders_of_other_classes_are_refused_at_the_start(written, photos, names, said):
    config = written(data=data_section(photos("train", NAMES), photos("eval", names)))
    assert refusal(prepare_training, config).endswith(f"data.eval: its classes are not those of data.train: {said}: {MEANING}")


class Named(Listed):
    """Two samples whose data set has names, as those of torchvision do."""

    def __init__(self, classes):
        super().__init__(*((np.ones((1, 2, 3), np.float32), label) for label in (0, 1)))
        self.classes = classes


def own(classes):
    name = "programs.model.test_known_classes.Named"
    return f"{{name: {name}, args: {{classes: {json.dumps(classes)}}}, batch_size: 2}}"


def test_data_sets_of_ones_own(written):
    """Their attribute is taken if it is a list of names, as many as the model has classes."""
    config = written(data=data_section(own(NAMES), own(NAMES[::-1])))
    evaluated = eval_loader(config)
    trained = train_loader(config, evaluated)
    said = f"those of data.train: class 0 is 'fox', not 'ant'; class 1 is 'elk', not 'bee': {MEANING}"
    assert refusal(check_same_classes, config, trained, evaluated).endswith(f"data.eval: its classes are not {said}")
    for count in (6, None):
        assert with_classes(config, trained, "train", count).data.classes == tuple(NAMES)
    assert with_classes(config, trained, "train", 2).data.classes is None
    two = written("data.classes=[no, 'yes']", data=data_section(own(NAMES), own(NAMES)))
    assert with_classes(two, trained, "train", 2).data.classes == ("no", "yes")
    said = f"those of the run (data.classes): no 'no', 'yes'; 'ant', 'bee', 'cat' and 3 more in addition: {MEANING}"
    assert refusal(with_classes, two, trained, "train", 6).endswith(f"data.train: its classes are not {said}")
    for useless in ([], ["a", "a"], [1, 2], "ab", None, [["tench", "Tinca tinca"]], [""]):
        assert names_in(Named(useless)) is None, useless
    named = written(data=data_section(own(["a\nb", "c"]), own(["a\nb", "c"])))
    assert with_classes(named, train_loader(named, eval_loader(named)), "train", 2) is named


def test_given_names_must_be_as_many_as_the_model_has_classes(written):
    data = data_section(blobs("samples: 8, batch_size: 8"), blobs("samples: 8, batch_size: 8", "test"))
    said = "data.classes: expected 6 names, one for each class of the model, got 2"
    assert refusal(prepare_training, written("data.classes=[a, b]", data=data)).endswith(said)
    assert prepare_training(written(f"data.classes={json.dumps(NAMES)}", data=data)).config.data.classes == tuple(NAMES)


def test_digits_have_names_unless_a_transform_changes_their_labels(written):
    def digits(split, more=""):
        return f"{{name: digits, split: {split}, batch_size: 8{more}}}"

    config = written(data=data_section(digits("train"), digits("test")))
    assert classes_of(config) == tuple("0123456789") == eval_loader(config).classes
    odd = ", transforms: [{name: programs.model.test_known_classes.odd, fields: [target]}]"
    assert eval_loader(written(data=data_section(digits("train", odd), digits("test", odd)))).classes is None
    assert classes_of(written(data=data_section(blobs("samples: 8, batch_size: 8"), digits("test")))) is None


def odd(label):
    return label % 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("[]", "data.classes: expected a list of names, one for each class, got []"),
        ("ant", "data.classes: expected a list of names, one for each class, got 'ant'"),
        ("[a, 1]", "data.classes.1: expected the name of a class, got 1; put it in quotes"),
        ("[a, true]", "data.classes.1: expected the name of a class, got true; put it in quotes"),
        ("[a, b, a]", "data.classes.2: 'a' is listed twice"),
        ("['']", "data.classes.0: expected the name of a class, got ''"),
    ],
)
def test_lists_that_are_none(written, given, said):
    assert said in refusal(written, f"data.classes={given}")
