"""A batch of one sample, or a rank's part of one, is named if Paddle would not normalise it."""

from __future__ import annotations

import warnings

import paddle
import pytest
from support.configs import SMALL, blobs, data_section, loader

from ppema.ranks import Ranks
from ppema.training.checks.lone_samples import warn_of_lone_samples
from ppema.training.setup import prepare_training

FLAT = "{name: support.models.OfType, args: {dtype: float32, classes: 3}}"  # its BatchNorm has one value per sample and channel


def said(folder, samples: int, ranks: int = 1, *, model: str = FLAT, keys: str = "") -> list[str]:
    """The warnings before a run with batches of 8."""
    data = data_section(blobs(f"samples: {samples}, batch_size: 8{keys}"), blobs("samples: 21, batch_size: 8", "test"))
    config = loader(folder, {**SMALL, "data": data, "model": model})()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = prepare_training(config)
        if ranks > 1:
            caught.clear()
            with paddle.static.scope_guard(run.scope):
                warn_of_lone_samples(config, run.executor, run.scope, run.programs.model, run.train_loader, Ranks(0, ranks))
    run.close()
    return [str(each.message) for each in caught if "a single sample" in str(each.message)]


@pytest.mark.parametrize(
    ("samples", "ranks", "where"),
    [
        (25, 1, "the last batch of each epoch is a single sample"),
        (26, 2, "one rank's part of the last batch of each epoch is a single sample"),
        (29, 3, "one rank's part of the last batch of each epoch is a single sample"),
        (24, 6, "one rank's part of each batch is a single sample"),
        (1, 1, "the last batch of each epoch is a single sample"),
    ],
)
def test_a_lone_sample_is_named(tmp_path, samples, ranks, where):
    (found,) = said(tmp_path, samples, ranks)
    assert where in found and "neither normalises nor scales (norm._mean): choose another batch_size" in found


@pytest.mark.parametrize(
    ("samples", "ranks", "more"),
    [
        (24, 1, {}),
        (26, 1, {}),
        (28, 2, {}),
        (25, 1, {"keys": ", drop_last: true"}),
        (25, 1, {"model": "{name: cnn, args: {in_channels: 1, num_classes: 3, widths: [4]}}"}),  # it normalises pixels
        (25, 1, {"model": "{name: mlp, args: {in_features: 64, num_classes: 3}}"}),
    ],
)
def test_nothing_is_said_of_others(tmp_path, samples, ranks, more):
    assert said(tmp_path, samples, ranks, **more) == []
