"""Losses for one class of several, as a label or as probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle.nn import functional

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.losses.checks import check_classes, classes_last, fit, has_classes, mismatch, spare_axis, without
from ppema.losses.loss_arguments import class_axis, integer, number, numbers
from ppema.losses.weighted import Weighted, of_totals


def cross_entropy(
    predictions: Variable,
    targets: Variable,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    ignore_index: int | None = None,
    axis: int = -1,
) -> Variable | Weighted:
    """-Σ_c q_c log softmax(predictions)_c.

    With class weights w the mean is Σ_n Σ_c w_c q_nc (-log p_nc) / Σ_n w(n), where w(n) = Σ_c w_c q_nc before the smoothing. A
    position with w(n) = 0 does not count. For labels this is the mean of torch.nn.CrossEntropyLoss. On a CPU Paddle rounds
    probabilities p below e⁻⁶⁴ up, so that -log p is at most 64; gradients are right beyond.

    Args:
        predictions: [N, C] or [N, …, C] float32 logits, or with the classes on another axis.
        targets: [N] or [N, …] int64 classes, with q = 1 at the class; or float32 probabilities q of the predictions' shape.
        label_smoothing: ε in [0, 1): q becomes (1 - ε)·q + ε/C (Szegedy et al. 2016, section 7).
        class_weights: C numbers ≥ 0. None: all 1.
        ignore_index: the label of positions that do not count. None: every position counts.
        axis: the axis of the classes: 1 for predictions [N, C, H, W].

    Returns: [N] or [N, …] float32; weighted with `class_weights` or `ignore_index`.
    Raises ConfigError if the targets do not fit the predictions, for a single class, and for a wrong argument.
    """
    epsilon = number(label_smoothing, "label_smoothing", "a number in [0, 1)", low=0, high=1)
    predictions, targets = logits_and_targets("cross_entropy", predictions, targets, axis)
    classes, labels = predictions.shape[-1], has_classes(targets)
    weights = None if class_weights is None else numbers(class_weights, "class_weights", classes, "class")
    counts, targets = without_ignored(targets, ignore_index)
    if labels and not epsilon:
        values = functional.cross_entropy(predictions, targets, reduction="none")
        if weights is not None:
            weights = paddle.gather_nd(weights, targets.unsqueeze(-1))
    else:
        q = functional.one_hot(targets, classes) if labels else targets
        smoothed = q * (1.0 - epsilon) + epsilon / classes if epsilon else q
        each = smoothed * functional.log_softmax(predictions, axis=-1)
        if weights is None:
            values = -each.sum(axis=-1)
        else:
            each, weights = each * weights, (q * weights).sum(axis=-1)
            values = of_totals(-each.sum(axis=-1), weights).values
    if counts is not None:
        weights = counts if weights is None else weights * counts
    return values if weights is None else Weighted(values, weights)


def logits_and_targets(name: str, predictions: Variable, targets: Variable, axis: int = -1) -> tuple[Variable, Variable]:
    """Predictions, and probabilities of their shape, with the axis of the classes as the last. Labels are unchanged.

    name: the loss, for the message. Raises ConfigError if the targets do not fit, and for a single class.
    """
    if len(predictions.shape) < 2:
        raise mismatch(name, predictions, targets, "an output for each class, [N, C]")
    axis = class_axis(axis, len(predictions.shape))
    shape = list(predictions.shape)
    labels = has_classes(targets)
    if labels and not fit(without(shape, axis), targets.shape):
        classes = "last" if axis == -1 else f"axis {axis % len(shape)}"
        raise mismatch(name, predictions, targets, f"class labels of the predictions' shape without its {classes}")
    if not labels and not fit(shape, targets.shape):
        raise mismatch(name, predictions, targets, "int64 class labels, or probabilities of the predictions' shape")
    check_classes(name, predictions, targets, axis)
    return classes_last(predictions, axis), targets if labels else classes_last(targets, axis)


def several_classes(predictions: Variable, targets: Variable) -> bool:
    """Whether targets are labels of several classes on an axis of the predictions, and not a yes or no for each prediction."""
    one_axis_more = len(predictions.shape) == len(targets.shape) + 1
    return has_classes(targets) and one_axis_more and spare_axis(predictions, targets) is None


def without_ignored(targets: Variable, ignore_index: int | None) -> tuple[Variable | None, Variable]:
    """1 for labels that count and 0 for others, float32 of the targets' shape; and the labels, with 0 for those others.

    Without `ignore_index`, None and the targets. Raises ConfigError if targets are no labels.
    """
    if ignore_index is None:
        return None, targets
    ignored = integer(ignore_index, "ignore_index")
    if not has_classes(targets):
        raise ConfigError.of("ignore_index requires int64 labels, the data's targets are float32", "args", "ignore_index")
    counts = targets != ignored
    return paddle.cast(counts, "float32"), paddle.where(counts, targets, paddle.zeros_like(targets))
