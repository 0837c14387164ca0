"""The loss for one class of several."""

from __future__ import annotations

from paddle.nn import functional

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.losses.checks import check_classes, has_classes, mismatch


def cross_entropy(predictions: Variable, targets: Variable, label_smoothing: float = 0.0) -> Variable:
    """-Σ_c q_c log softmax(predictions)_c.

    Args:
        predictions: [N, C] or [N, …, C] float32 logits.
        targets: [N] or [N, …] int64 classes, with q = 1 at the class; or float32 probabilities q of the predictions' shape.
        label_smoothing: ε in [0, 1): q becomes (1 - ε)·q + ε/C (Szegedy et al. 2016, section 7).

    Returns: [N] or [N, …] float32.
    Raises ConfigError if the targets do not fit the predictions, for a single class, and for another ε.
    """
    if not 0 <= label_smoothing < 1:
        raise ConfigError.of(f"expected a number in [0, 1), got {label_smoothing}", "args", "label_smoothing")
    shape, classes = list(predictions.shape), predictions.shape[-1]
    if has_classes(targets):
        if list(targets.shape) != shape[:-1]:
            raise mismatch("cross_entropy", predictions, targets, "class labels of the predictions' shape without its last")
        check_classes("cross_entropy", predictions, targets)
        if not label_smoothing:
            return functional.cross_entropy(predictions, targets, reduction="none").reshape(targets.shape)
        targets = functional.one_hot(targets, classes)
    elif list(targets.shape) != shape:
        raise mismatch("cross_entropy", predictions, targets, "int64 class labels, or probabilities of the predictions' shape")
    check_classes("cross_entropy", predictions, targets)
    if label_smoothing:
        targets = targets * (1.0 - label_smoothing) + label_smoothing / classes
    return -(targets * functional.log_softmax(predictions, axis=-1)).sum(axis=-1)
