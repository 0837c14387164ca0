"""The loss for the overlap of masks."""

from __future__ import annotations

import paddle
from paddle.nn import functional

from ppema.ir import Variable
from ppema.losses.checks import has_classes, mismatch, of_one_shape
from ppema.losses.classification import logits_and_targets, several_classes, without_ignored
from ppema.losses.loss_arguments import number


def dice(
    predictions: Variable, targets: Variable, smooth: float = 1.0, ignore_index: int | None = None, axis: int = -1
) -> Variable:
    """1 - (2 Σ p·g + s) / (Σ p + Σ g + s), with sums over the positions of a sample (Sudre et al. 2017, section 2.1).

    Of one mask if targets have the predictions' shape: p = sigmoid(predictions), g the target. Of C classes if targets are
    labels and predictions have one more axis: p = softmax(predictions), g = 1 at the label, and the mean over the classes.

    Args:
        predictions: [N, …] float32 logits, or [N, …, C]. [N, …, 1] and [N, 1, …] fit targets [N, …].
        targets: [N, …] int64 0 or 1, or float32 in [0, 1]; or [N, …] int64 classes.
        smooth: s > 0. A sample without positives, predicted so, has the loss 0.
        ignore_index: the label of positions that are left out of all sums. None: every position counts.
        axis: the axis of the C classes: 1 for predictions [N, C, H, W].

    Returns: [N] float32, one value per sample.
    Raises ConfigError if the targets do not fit the predictions, and for a wrong argument.
    """
    smooth = number(smooth, "smooth", "a finite number > 0", low=0, low_fits=False)
    if several_classes(predictions, targets):
        logits, targets = logits_and_targets("dice", predictions, targets, axis)
        counts, targets = without_ignored(targets, ignore_index)
        p, g = functional.softmax(logits, axis=-1), functional.one_hot(targets, logits.shape[-1])
    else:
        said = "a mask of the predictions' shape, int64 0 or 1 or float32 in [0, 1], or labels of classes"
        logits = of_one_shape("dice", predictions, targets, said).unsqueeze(-1)
        counts, targets = without_ignored(targets, ignore_index)
        g = (paddle.cast(targets, "float32") if has_classes(targets) else targets).unsqueeze(-1)
        p = functional.sigmoid(logits)
    if counts is not None:
        p, g = p * counts.unsqueeze(-1), g * counts.unsqueeze(-1)
    if len(p.shape) < 3:
        raise mismatch("dice", predictions, targets, "masks, of two axes or more")
    positions = list(range(1, len(p.shape) - 1))
    overlap, total = (p * g).sum(axis=positions), (p + g).sum(axis=positions)
    return (1.0 - (2.0 * overlap + smooth) / (total + smooth)).mean(axis=-1)
