"""Dice against float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
from support.exact import log_sigmoid, log_softmax, named
from support.graph import computed

from ppema.errors import ConfigError
from ppema.losses import build_loss

rng = np.random.default_rng(0)
MASKS = rng.normal(size=(3, 4, 5)).astype("float32") * 3
YES = rng.integers(0, 2, (3, 4, 5))
CLASSES = rng.normal(size=(3, 4, 5, 2)).astype("float32") * 3


def loss(**args):
    return build_loss(named("dice", **args))


def exact(p, g, smooth, counts):
    """[N, H, W, C] → [N]."""
    p, g = p * counts[..., None], g * counts[..., None]
    overlap, total = (p * g).sum(axis=(1, 2)), (p + g).sum(axis=(1, 2))
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean(axis=-1)


@pytest.mark.parametrize("smooth", [1, 0.01])
@pytest.mark.parametrize("ignored", [None, 255])
def test_masks(smooth, ignored):
    targets = YES if ignored is None else np.where(YES[..., :1] > 0, ignored, YES)
    p, counts = np.exp(log_sigmoid(MASKS)), targets != ignored
    expected = exact(p[..., None], targets[..., None], smooth, counts)
    for shape in ((3, 4, 5), (3, 1, 4, 5), (3, 4, 5, 1)):
        found = computed(loss(smooth=smooth, ignore_index=ignored), MASKS.reshape(shape), targets)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("ignored", [None, 255])
def test_classes(axis, ignored):
    targets = YES if ignored is None else np.where(YES[..., :1] > 0, ignored, YES)
    expected = exact(np.exp(log_softmax(CLASSES)), np.eye(2)[targets % 255], 1, targets != ignored)
    given = np.ascontiguousarray(np.moveaxis(CLASSES, -1, axis))
    found, gradient = computed(loss(axis=axis, ignore_index=ignored), given, targets, by=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isfinite(gradient).all() and gradient.any()


def test_an_empty_mask_and_extreme_logits():
    """No positives, predicted so: 1 - s/s. All predicted, none there: 1 - s/(20 + s). All there: 1 - (40 + s)/(40 + s)."""
    signs = np.array([-1e4, 1e4, 1e4], "float32")[:, None, None]
    there = np.array([0, 0, 1])[:, None, None]
    found, gradient = computed(loss(), signs * np.ones((3, 4, 5), "float32"), there * np.ones((3, 4, 5), "int64"), by=0)
    np.testing.assert_allclose(found, [0, 20 / 21, 0], atol=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("args", "predictions", "targets", "line"),
    [
        ({"smooth": 0}, MASKS, YES, "args.smooth: expected a finite number > 0, got 0"),
        (
            {},
            MASKS[:, 0],
            YES[:, 0, 0],
            "dice expects masks, of two axes or more; the model gives float32 [N, 5] and the data's targets are int64 [N]",
        ),
        (
            {},
            MASKS,
            YES[:, :3].astype("float32"),
            "dice expects a mask of the predictions' shape, int64 0 or 1 or float32 in [0, 1], or labels of classes; the model "
            "gives float32 [N, 4, 5] and the data's targets are float32 [N, 3, 5]",
        ),
    ],
)
def test_refusals(args, predictions, targets, line):
    with pytest.raises(ConfigError) as caught:
        computed(loss(**args), predictions, targets)
    assert str(caught.value) == line
