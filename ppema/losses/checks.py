"""Checks whether targets fit predictions, for losses and metrics, and words the mismatch."""

from __future__ import annotations

import paddle

from ppema.errors import ConfigError
from ppema.ir import Variable, dtype_name


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
