"""The origins of the keys of a config: files, overrides, code, and the data."""

from __future__ import annotations

import pytest

from ppema.config import load_config
from ppema.config.provenance import CODE, DATA, OVERRIDE, origins

BASE = "seed: 3\ntrain: {epochs: 2, log_every: 5 steps}\n"
MINE = """_base_: base.yml
model: {name: cnn, args: {widths: [4, 8]}}
data:
  train: {name: digits, split: train, batch_size: 8}
  eval: {name: digits, split: test, batch_size: 8}
optimizer: SGD
lr: 0.1
averages: {ema: {decay: 0.9}}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "mine.yml").write_text(MINE)
    return load_config("mine.yml", ["averages.ema.decay=0.99", "train.epochs=3"])


def places(config, resolved=None):
    return {each.key: (each.value, each.place) for each in origins(config, resolved)}


def test_every_key_that_somebody_set_and_no_default(config):
    assert places(config) == {
        # The first key of a file has the place of the whole file.
        "seed": (3, "base.yml:1:1"),
        "model.name": ("cnn", "mine.yml:2:9"),
        "model.args.widths": ([4, 8], "mine.yml:2:27"),
        "data.train.name": ("digits", "mine.yml:4:11"),
        "data.train.split": ("train", "mine.yml:4:25"),
        "data.train.batch_size": (8, "mine.yml:4:39"),
        "data.eval.name": ("digits", "mine.yml:5:10"),
        "data.eval.split": ("test", "mine.yml:5:24"),
        "data.eval.batch_size": (8, "mine.yml:5:37"),
        # What a short form stands for has the place of the short form.
        "optimizer.name": ("SGD", "mine.yml:6:1"),
        "lr.name": ("constant", "mine.yml:7:1"),
        "lr.args.learning_rate": (0.1, "mine.yml:7:1"),
        "averages.ema.decay": (0.99, OVERRIDE),
        "train.epochs": (3, OVERRIDE),
        "train.log_every": ("5 steps", "base.yml:2:20"),
    }
    assert (config.positions.file, config.positions.overrides) == ("mine.yml", ("averages.ema.decay=0.99", "train.epochs=3"))


def test_what_code_changes_is_no_more_from_the_file(config):
    found = places(config.replace(seed=9, train=config.train.replace(epochs=7)))
    assert (found["seed"], found["train.epochs"]) == ((9, CODE), (7, CODE))
    assert found["train.log_every"] == ("5 steps", "base.yml:2:20")
    made = type(config).model_validate(config.model_dump(exclude_unset=True))
    assert {place for _, place in places(made).values()} == {CODE}


def test_what_the_data_decides(config):
    found = places(config, config.replace(data=config.data.replace(classes=["a", "b"])))
    assert found["data.classes"] == (("a", "b"), DATA) and found["seed"] == (3, "base.yml:1:1")
