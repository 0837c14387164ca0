"""Class labels of predictions and targets, and their counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.losses import check_classes, class_axis, fit, has_classes, mismatch, one_output, without
from ppema.metrics.metric import Counts
from ppema.metrics.multilabel import refuse_unclear

_NO_CLASS = 2**40  # neither a class nor an ignore_index


class Labels(NamedTuple):
    """Labels of a batch. Shapes: [M], for all samples and positions; one more than `classes` bins count in `counts`.

    guessed, true: int64. true: `classes` for a target that is ignored, `classes` + 1 for one that is no class.
    """

    guessed: Variable
    true: Variable
    classes: int


def labels(
    name: str,
    predictions: Variable,
    targets: Variable,
    *,
    axis: int,
    threshold: float | None,
    ignore_index: int | None,
    multilabel: bool | None,
) -> Labels:
    """The predicted and the true class of each sample and position.

    predictions: [N, C] or [N, …, C] float32, or with the classes at another `axis`: the largest is predicted. Or one output,
    [N, …], [N, …, 1] or [N, 1, …]: class 1 is predicted above the threshold (None: 0), else class 0. targets: [N, …] int64; of
    one output also float32, 0 or 1. Raises ConfigError for other shapes; for predictions and targets [N, K] without
    `multilabel`, as `refuse_unclear`; and for float32 targets of the predictions' shape without a threshold, which could be
    probabilities. name: the metric, for messages.
    """
    refuse_unclear(name, predictions, targets, multilabel)
    scores = one_output(predictions, targets)
    single = scores is not None and (len(scores.shape) < len(predictions.shape) or list(targets.shape)[1:] in ([], [1]))
    if scores is not None and (single or threshold is not None or multilabel is False or has_classes(targets)):
        classes, guessed = 2, paddle.cast(scores > (threshold or 0.0), "int64")
        if not has_classes(targets):
            zero, one = paddle.zeros_like(guessed), paddle.ones_like(guessed)
            targets = paddle.where(targets == 1, one, paddle.where(targets == 0, zero, zero - _NO_CLASS))
    else:
        wanted = f"int64 class labels of the predictions' shape without axis {axis}, or a threshold for outputs of yes or no"
        shape, axis = predictions.shape, class_axis(axis, len(predictions.shape))
        if not has_classes(targets) or not fit(without(shape, axis), targets.shape):
            if len(shape) > 2 and axis != 1 and fit(without(shape, 1), targets.shape):
                wanted += "; with the classes at axis 1, give `axis: 1`"
            raise mismatch(name, predictions, targets, wanted)
        check_classes(name, predictions, targets, axis)
        classes, guessed = shape[axis], paddle.argmax(predictions, axis=axis)
    guessed, targets = guessed.flatten(), targets.flatten()
    true = paddle.where((targets >= 0) & (targets < classes), targets, paddle.full_like(targets, classes + 1))
    if ignore_index is not None:
        true = paddle.where(targets == ignore_index, paddle.full_like(targets, classes), true)
    return Labels(guessed, true, classes)


def counts(values: Variable, bins: int) -> Counts:
    """How often each of 0, …, bins - 1 is among `values`, [M] int64: [bins] int64."""
    return Counts(paddle.bincount(values, minlength=bins).reshape([bins]))


def check_classes_found(strays: int, classes: int, ignore_index: int | None) -> None:
    """Raise ConfigError if there are targets that are no class. strays: their number."""
    if strays:
        other = "" if ignore_index is None else f" nor ignore_index, {ignore_index}"
        raise ConfigError.of(f"{strays} targets are no class from 0 to {classes - 1}{other}")


def ratio(above: np.ndarray, below: np.ndarray, undefined: float) -> np.ndarray:
    """above / below in float64, and `undefined` where `below` is 0."""
    return np.where(below > 0, above / np.where(below > 0, below, 1), undefined)
