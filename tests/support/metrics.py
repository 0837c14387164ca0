"""Metrics that test configs name. Only `sq_dist` is a mean over samples."""

from __future__ import annotations

import paddle


def macro_f1(predictions, targets):
    """The mean over classes of the F1 of the batch."""
    classes = predictions.shape[-1]
    guessed = paddle.nn.functional.one_hot(paddle.argmax(predictions, axis=-1), classes)
    true = paddle.nn.functional.one_hot(targets, classes)
    return (2 * (guessed * true).sum(axis=0) / (guessed.sum(axis=0) + true.sum(axis=0) + 1e-9)).mean()


def f1_for_each(predictions, targets):
    """The macro F1 of the batch, repeated for each sample."""
    return macro_f1(predictions, targets) + paddle.zeros_like(predictions[:, 0])


def of_some(predictions, targets):
    return paddle.masked_select(predictions[:, 0], targets > 2)


def sq_dist(predictions, targets):
    """A mean over samples: the squared distance to the target class. Less is better, which its name does not say."""
    one_hot = paddle.nn.functional.one_hot(targets, predictions.shape[-1])
    return paddle.square(predictions - one_hot).sum(axis=1)
