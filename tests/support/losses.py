"""Losses that test configs name: means over samples, and losses that only look like one."""

from __future__ import annotations

import numpy as np
import paddle

from ppema.losses import Weighted
from ppema.losses.classification import cross_entropy


def nan_loss(predictions, targets):
    return predictions.mean(axis=1) * float("nan")


def numpy_loss(predictions, targets):
    return np.zeros(3, "float32")


def scalar_loss(predictions, targets):
    return paddle.nn.functional.cross_entropy(predictions, targets)


def rooted_loss(predictions, targets):
    """The root of a mean. With one sample per batch it is the mean of roots."""
    one_hot = paddle.nn.functional.one_hot(targets, predictions.shape[-1])
    return paddle.sqrt(paddle.square(predictions - one_hot).mean())


def summed_loss(predictions, targets):
    return paddle.nn.functional.cross_entropy(predictions, targets, reduction="sum")


def weighted_loss(predictions, targets):
    """A mean weighted by class: Σ w·l / Σ w over the batch."""
    weights = paddle.cast(targets, "float32") + 1.0
    each = paddle.nn.functional.cross_entropy(predictions, targets, reduction="none").reshape([-1])
    return (weights * each).sum() / weights.sum()


def contrastive_loss(predictions, targets):
    """One value per sample, which depends on all samples of the batch."""
    similar = paddle.matmul(predictions, predictions, transpose_y=True)
    return paddle.logsumexp(similar, axis=1) - paddle.square(predictions).sum(axis=1)


def in_batch_loss(predictions, targets):
    """One value for each sample whose class is below 5."""
    each = paddle.nn.functional.cross_entropy(predictions, targets, reduction="none").reshape([-1])
    return paddle.masked_select(each, targets < 5)


def negative_weights(predictions, targets):
    """Weights of the targets, of which those of class 0 are -1."""
    return Weighted(cross_entropy(predictions, targets), paddle.cast(targets, "float32") - 1.0)


def given_weights(predictions, targets):
    """Weights that the data gives."""
    return Weighted(cross_entropy(predictions, targets["labels"]), targets["weights"])
