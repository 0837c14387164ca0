"""A run on texts of different lengths, which are padded batch by batch."""

import warnings

import pytest
from support.configs import Sections, loader
from support.runs import content, last

from ppema.training.loop import train
from ppema.training.setup import prepare_training

TEXTS: Sections = {
    "model": "{name: support.models.BagOfWords, args: {vocabulary: 10}}",
    "data": "\n  train: {name: support.datasets.Texts, args: {samples: 52}, batch_size: 8, shuffle: true}\n"
    "  eval: {name: support.datasets.Texts, args: {samples: 20, seed: 1}, batch_size: 3}\n"
    "  inputs: [tokens]\n  targets: [label]\n  shapes: {tokens: [-1]}\n  collate: pad",
    "optimizer": "Adam",
    "lr": "0.05",
    "averages": "{ema: {decay: 0.9}}",
    "train": "{epochs: 6, eval_every: 42 steps}",
}


def test_padded_text(tmp_path):
    """It learns. Neither workers nor an interruption in the middle of an epoch change a bit."""
    config = loader(tmp_path, TEXTS)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the padding")
        whole = train(config())
    assert whole.metrics["ema"]["accuracy"] >= 0.8
    train(config(f"output={tmp_path / 'cut'}", "train.stop_after=11 steps"))
    train(config(f"output={tmp_path / 'cut'}", "data.train.workers=2"))
    assert content(last(tmp_path / "cut")) == content(last(tmp_path / "run"))


def test_padding_that_counts(tmp_path):
    """A mean over all tokens depends on the longest text of the batch."""
    config = loader(tmp_path, TEXTS)("model.args.masked=false")
    with pytest.warns(UserWarning, match="the padding of a batch changes the figures of its samples"):
        prepare_training(config)
