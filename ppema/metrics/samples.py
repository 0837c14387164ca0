"""Metrics that are means of one value per sample."""

from __future__ import annotations

import paddle

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.losses import Weighted, check_classes, classes_last, fit, form, has_classes, mismatch, of_one_shape
from ppema.metrics.multilabel import answers_of_labels, check_multilabel, refuse_unclear


def accuracy(
    predictions: Variable,
    targets: Variable,
    k: int = 1,
    axis: int = -1,
    threshold: float | None = None,
    ignore_index: int | None = None,
    multilabel: bool | None = None,
) -> Variable | Weighted:
    """1 if the target class is among the k largest predictions, else 0: [N] or [N, …] float32.

    Args:
        predictions: [N, C] or [N, …, C] float32, or with the classes at another `axis`.
        targets: [N] or [N, …] int64; or probabilities of the predictions' shape, whose largest is the class.
        threshold: for one output, [N, …] or [N, …, 1], instead of C: class 1 is predicted above it, else class 0.
        ignore_index: targets that do not count.
        multilabel: whether predictions and targets [N, K] have yes or no for K labels. 1 then means that all labels of a sample
            are right. False: they are K positions, or a class's probabilities. `axis` is that of the labels.

    Raises ConfigError if the shapes do not fit, for a single class without a threshold, and if k is not in [1, C].
    """
    check_multilabel(multilabel)
    if multilabel:
        if k != 1:
            raise ConfigError.of(f"the labels of a sample have no top {k}: use accuracy", "args", "multilabel")
        found = answers_of_labels("accuracy", predictions, targets, axis=axis, threshold=threshold, ignore_index=ignore_index)
        every = ((found.guessed == found.true) | ~found.counted).all(axis=found.axis)
        values = paddle.cast(every, "float32")
        return values if ignore_index is None else Weighted(values, paddle.cast(found.counted.any(axis=found.axis), "float32"))
    if threshold is not None:
        refuse_unclear("accuracy", predictions, targets, multilabel)
    hits, targets = _ranked(predictions, targets, k, axis) if threshold is None else _split(predictions, targets, threshold)
    values = paddle.cast(hits, "float32")
    return values if ignore_index is None else Weighted(values, paddle.cast(targets != ignore_index, "float32"))


def _ranked(predictions: Variable, targets: Variable, k: int, axis: int) -> tuple[Variable, Variable]:
    """Whether each target class is among the k largest predictions, and the target classes."""
    predictions = classes_last(predictions, axis) if axis != -1 else predictions
    if len(predictions.shape) < 2 or not 1 <= k <= predictions.shape[-1]:
        raise ConfigError.of(f"the top {k} of predictions {form(predictions)} can not be taken")
    shape = list(predictions.shape)
    if not fit(shape[:-1] if has_classes(targets) else shape, targets.shape):
        said = "int64 class labels of the predictions' shape without its last, or probabilities of the predictions' shape"
        raise mismatch("accuracy", predictions, targets, said)
    if predictions.shape[-1] == 1:
        said = f"the model gives {form(predictions)} and the data's targets are {form(targets)}"
        raise ConfigError.of(
            f"accuracy needs two classes or more; {said}: use mse for numbers, the argument threshold for yes or no, or an "
            "output for each class"
        )
    check_classes("accuracy", predictions, targets)
    if not has_classes(targets):
        targets = paddle.argmax(targets, axis=-1)
    if k == 1:
        return paddle.argmax(predictions, axis=-1) == targets, targets
    _, largest = paddle.topk(predictions, k, axis=-1)
    return (largest == targets.unsqueeze(-1)).any(axis=-1), targets


def _split(predictions: Variable, targets: Variable, threshold: float) -> tuple[Variable, Variable]:
    """Whether each prediction is on its target's side of the threshold, and the targets."""
    scores = of_one_shape("accuracy with a threshold", predictions, targets, "one output for each target")
    return paddle.cast(scores > threshold, "float32") == paddle.cast(targets, "float32"), targets


def top_k(
    predictions: Variable, targets: Variable, k: int, axis: int = -1, ignore_index: int | None = None
) -> Variable | Weighted:
    """`accuracy`, with a k that must be given."""
    return accuracy(predictions, targets, k, axis, ignore_index=ignore_index)
