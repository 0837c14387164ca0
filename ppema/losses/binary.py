"""Losses for yes or no, once or several times a sample, and focal losses for two classes and more."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle.nn import functional

from ppema.ir import Variable
from ppema.losses.checks import has_classes, of_one_shape
from ppema.losses.classification import logits_and_targets, several_classes, without_ignored
from ppema.losses.loss_arguments import number, numbers
from ppema.losses.weighted import Weighted


def binary_cross_entropy(
    predictions: Variable,
    targets: Variable,
    pos_weight: float | Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> Variable | Weighted:
    """-(w·y log p + (1 - y) log(1 - p)) with p = sigmoid(predictions): torch.nn.BCEWithLogitsLoss, without its mean.

    Args:
        predictions: [N, …] float32 logits. [N, …, 1] and [N, 1, …] fit targets [N, …].
        targets: [N, …] int64 0 or 1, or float32 y in [0, 1].
        pos_weight: w > 0 of the positives, or a list with one w for each output of the last axis. None: 1. It does not change
            the divisor of the mean.
        ignore_index: the int64 target of positions that do not count. None: every position counts.

    Returns: [N, …] float32; weighted with `ignore_index`.
    Raises ConfigError if the targets do not fit the predictions, and for a wrong argument.
    """
    logits, counts, y = _yes_or_no("binary_cross_entropy", predictions, targets, ignore_index)
    positive, negative = -y * functional.log_sigmoid(logits), (y - 1.0) * functional.log_sigmoid(-logits)
    if isinstance(pos_weight, (list, tuple)):
        outputs = logits.shape[-1] if len(logits.shape) > 1 else 1
        positive = positive * numbers(pos_weight, "pos_weight", outputs, "output")
    elif pos_weight is not None:
        positive = positive * number(pos_weight, "pos_weight", "a number > 0, or a list of numbers", low=0, low_fits=False)
    return _counted(positive + negative, counts)


def focal(
    predictions: Variable,
    targets: Variable,
    gamma: float = 2.0,
    alpha: float | Sequence[float] | None = None,
    ignore_index: int | None = None,
    axis: int = -1,
) -> Variable | Weighted:
    """-α_t (1 - p_t)^γ log p_t, where p_t is the probability of the true class (Lin et al. 2017, eq. 5).

    Of two classes if targets have the predictions' shape, as in the paper: p = sigmoid(predictions), α_t = α for the positives
    and 1 - α for the negatives. Targets y between 0 and 1 are mixtures: y times the loss of a positive, 1 - y times that of a
    negative. Of C classes if targets are labels and predictions have one more axis: p = softmax(predictions), α_t the α of
    the class.

    Args:
        predictions: [N, …] float32 logits, or [N, …, C]. [N, …, 1] and [N, 1, …] fit targets [N, …].
        targets: [N, …] int64 0 or 1, or float32 y in [0, 1]; or [N, …] int64 classes.
        gamma: γ ≥ 0. 0: cross-entropy.
        alpha: α in (0, 1), or a list of C numbers ≥ 0. The paper uses 0.25. None: α_t = 1. The divisor of the mean stays the
            number of values.
        ignore_index: the label of positions that do not count. None: every position counts.
        axis: the axis of the C classes: 1 for predictions [N, C, H, W].

    Returns: [N] or [N, …] float32; weighted with `ignore_index`.
    Raises ConfigError if the targets do not fit the predictions, and for a wrong argument.
    """
    gamma = number(gamma, "gamma", "a finite number >= 0", low=0)
    if several_classes(predictions, targets):
        return _focal_of_classes(predictions, targets, gamma, alpha, ignore_index, axis)
    logits, counts, y = _yes_or_no("focal", predictions, targets, ignore_index)
    yes, no = functional.log_sigmoid(logits), functional.log_sigmoid(-logits)
    # exp(γ log(1 - p)) has a finite gradient at p = 1 for γ < 1, where the power has none.
    positive, negative = -y * paddle.exp(gamma * no) * yes, (y - 1.0) * paddle.exp(gamma * yes) * no
    if alpha is not None:
        share = number(alpha, "alpha", "a number in (0, 1) for two classes", low=0, low_fits=False, high=1)
        positive, negative = share * positive, (1.0 - share) * negative
    return _counted(positive + negative, counts)


def _focal_of_classes(
    predictions: Variable, targets: Variable, gamma: float, alpha: object, ignore_index: int | None, axis: int
) -> Variable | Weighted:
    logits, targets = logits_and_targets("focal", predictions, targets, axis)
    counts, targets = without_ignored(targets, ignore_index)
    classes = logits.shape[-1]
    true = functional.one_hot(targets, classes)
    # Paddle's log_softmax rounds probabilities below e⁻⁶⁴ up on a CPU.
    largest = logits.max(axis=-1, keepdim=True)
    largest.stop_gradient = True
    below = logits - largest
    log_p = below - paddle.log(paddle.exp(below).sum(axis=-1, keepdim=True))
    # log(1 - p_t) is the logarithm of the sum of all other probabilities.
    log_rest = paddle.logsumexp(log_p - true * 1e30, axis=-1)
    values = -paddle.exp(gamma * log_rest) * (true * log_p).sum(axis=-1)
    if alpha is not None:
        values = values * (true * numbers(alpha, "alpha", classes, "class")).sum(axis=-1)
    return _counted(values, counts)


def _yes_or_no(
    name: str, predictions: Variable, targets: Variable, ignore_index: int | None
) -> tuple[Variable, Variable | None, Variable]:
    """The logits in the shape of the targets; 1 for those that count, or None if all do; and the targets as float32."""
    logits = of_one_shape(name, predictions, targets, "targets of the predictions' shape: int64 0 or 1, or float32 in [0, 1]")
    counts, targets = without_ignored(targets, ignore_index)
    return logits, counts, paddle.cast(targets, "float32") if has_classes(targets) else targets


def _counted(values: Variable, counts: Variable | None) -> Variable | Weighted:
    return values if counts is None else Weighted(values, counts)
