"""Losses: functions of predictions and targets that give one value per sample.

A loss with a dotted path may also be a Layer class such as paddle.nn.CrossEntropyLoss. It may return the mean over the batch
as a scalar.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import paddle
from paddle.nn import functional

from ppema.errors import ConfigError
from ppema.ir import Variable, dtype_name
from ppema.user_code.names import check_arguments, resolve

Loss = Callable[[Variable, Variable], Variable]


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


def mse(predictions: Variable, targets: Variable) -> Variable:
    """(predictions - targets)², both [N, …] float32, of that shape. Predictions [N, 1] fit targets [N].

    Raises ConfigError for other shapes or types.
    """
    return paddle.square(difference("mse", predictions, targets))


LOSSES: dict[str, Callable[..., Variable]] = {"cross_entropy": cross_entropy, "mse": mse}


def build_loss(spec: Any) -> Loss:
    """The loss of `spec`, a config's name and args. Raises ConfigError for an unknown name or a wrong argument."""
    found = resolve(spec.name, LOSSES, "loss")
    if isinstance(found, type):
        check_arguments(found, spec.args, what=spec.name)
        return found(**spec.args)
    check_arguments(found, spec.args, positional=2, what=spec.name)
    return partial(found, **spec.args)


def per_sample(values: Variable) -> Variable:
    """[N, …] → [N], the mean over all axes but the first. A scalar is returned unchanged."""
    return values if len(values.shape) < 2 else values.flatten(1).mean(axis=1)


def difference(name: str, predictions: Variable, targets: Variable) -> Variable:
    """predictions - targets. Raises ConfigError if the shapes differ, since broadcasting would hide the mistake.

    Predictions [N, …, 1] fit targets [N, …]. name: the loss or metric, for the message.
    """
    if list(predictions.shape) == [*targets.shape, 1]:
        predictions = predictions.squeeze(-1)
    if list(predictions.shape) != list(targets.shape) or has_classes(targets):
        raise mismatch(name, predictions, targets, "float32 targets of the predictions' shape")
    return predictions - targets


def has_classes(targets: Variable) -> bool:
    """Whether `targets` are class labels (int64), not numbers or probabilities (float32)."""
    return targets.dtype == paddle.int64


def check_classes(name: str, predictions: Variable, targets: Variable) -> None:
    """Raises ConfigError for predictions [N, …, 1], of which every softmax is 1 and every argmax is 0.

    name: the loss or metric, for the message.
    """
    if predictions.shape[-1] == 1:
        raise ConfigError.of(
            f"{name} needs two classes or more; the model gives {form(predictions)} and the data's targets are "
            f"{form(targets)}: use mse for numbers, or int64 labels and an output for each class"
        )


def mismatch(name: str, predictions: Variable, targets: Variable, wanted: str) -> ConfigError:
    """The error of the loss or metric `name`, which expects `wanted`."""
    return ConfigError.of(
        f"{name} expects {wanted}; the model gives {form(predictions)} and the data's targets are {form(targets)}"
    )


def form(value: Variable) -> str:
    """A variable's type and shape for a message: "float32 [N, 10]"."""
    dims = ", ".join("N" if size == -1 else str(size) for size in value.shape)
    return f"{dtype_name(value)} [{dims}]"
