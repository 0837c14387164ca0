"""Checks whether targets fit predictions, for losses and metrics, and words the mismatch."""

from __future__ import annotations

from collections.abc import Sequence

import paddle

from ppema.errors import ConfigError
from ppema.ir import Variable, dtype_name
from ppema.losses.loss_arguments import class_axis

_UNKNOWN = -1


def difference(name: str, predictions: Variable, targets: Variable) -> Variable:
    """predictions - targets. Raises ConfigError if the shapes differ, since broadcasting would hide the mistake.

    Shapes fit as those of `of_one_shape`. name: the loss or metric, for the message.
    """
    said = "float32 targets of the predictions' shape"
    if has_classes(targets):
        raise mismatch(name, predictions, targets, said)
    return of_one_shape(name, predictions, targets, said) - targets


def of_one_shape(name: str, predictions: Variable, targets: Variable, wanted: str) -> Variable:
    """The predictions in the shape of the targets. Predictions [N, …, 1] and [N, 1, …] fit targets [N, …].

    name: the loss or metric; wanted: the fitting targets, both for the message. Raises ConfigError if nothing fits.
    """
    output = one_output(predictions, targets)
    if output is None:
        raise mismatch(name, predictions, targets, wanted)
    return output


def one_output(predictions: Variable, targets: Variable) -> Variable | None:
    """Predictions in the shape of the targets, as `of_one_shape`; None if they do not fit, as with one for each class."""
    if fit(predictions.shape, targets.shape):
        return predictions
    axis = spare_axis(predictions, targets)
    return None if axis is None else predictions.squeeze(axis)


def spare_axis(predictions: Variable, targets: Variable) -> int | None:
    """The axis of size 1, the last or 1, without which the predictions have the shape of the targets; None if there is none."""
    shape = list(predictions.shape)
    for axis in (-1, 1):
        if len(shape) > 1 and shape[axis] == 1 and fit(without(shape, axis), targets.shape):
            return axis
    return None


def without(shape: Sequence[int], axis: int) -> list[int]:
    """The shape without one axis."""
    sizes = list(shape)
    del sizes[axis]
    return sizes


def classes_last(value: Variable, axis: int) -> Variable:
    """`value`, such as predictions, with the axis of the classes last. Raises ConfigError for no such axis."""
    axis = class_axis(axis, len(value.shape))
    return value if axis == -1 else paddle.moveaxis(value, axis, -1)


def fit(predictions: Sequence[int], targets: Sequence[int]) -> bool:
    """Whether two shapes are one, as far as the program knows. A size that differs between batches is -1.

    Such a size does not fit 1: an operation of the two would repeat the one value.
    """
    if len(predictions) != len(targets):
        return False
    return all(a == b or (_UNKNOWN in (a, b) and 1 not in (a, b)) for a, b in zip(predictions, targets, strict=True))


def has_classes(targets: Variable) -> bool:
    """Whether `targets` are class labels (int64), not numbers or probabilities (float32)."""
    return targets.dtype == paddle.int64


def check_classes(name: str, predictions: Variable, targets: Variable, axis: int = -1) -> None:
    """Raises ConfigError for a single class, of which every softmax is 1 and every argmax is 0.

    name: the loss or metric, for the message; axis: the axis of the classes.
    """
    if predictions.shape[axis] == 1:
        raise ConfigError.of(
            f"{name} needs two classes or more; the model gives {form(predictions)} and the data's targets are "
            f"{form(targets)}: use mse for numbers, or int64 labels and an output for each class"
        )
    if predictions.shape[axis] == _UNKNOWN:
        raise ConfigError.of(f"{name} needs a known number of classes; the model gives {form(predictions)}")


def mismatch(name: str, predictions: Variable, targets: Variable, wanted: str) -> ConfigError:
    """The error of the loss or metric `name`, which expects `wanted`."""
    return ConfigError.of(
        f"{name} expects {wanted}; the model gives {form(predictions)} and the data's targets are {form(targets)}"
    )


def form(value: Variable) -> str:
    """A variable's type and shape for a message: "float32 [N, 10]"."""
    dims = ", ".join("N" if size == -1 else str(size) for size in value.shape)
    return f"{dtype_name(value)} [{dims}]"
