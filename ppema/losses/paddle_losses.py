"""The loss classes of paddle.nn: reduced by ppema, so that the mean over a data set is exact for any batch size."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import paddle

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.losses.binary import binary_cross_entropy
from ppema.losses.checks import has_classes, of_one_shape
from ppema.losses.classification import without_ignored
from ppema.losses.loss_arguments import numbers
from ppema.losses.weighted import Weighted
from ppema.user_code.names import check_arguments

LAYERS: dict[str, Any] = {
    name: kind
    for name, kind in vars(paddle.nn).items()
    if name.endswith("Loss") and isinstance(kind, type) and issubclass(kind, paddle.nn.Layer)
}
# Their mean is over the class weights of the labels that count.
_OF_LABELS = (paddle.nn.CrossEntropyLoss, paddle.nn.NLLLoss)
# Why ppema refuses a class, or an argument of one.
_REFUSED = {
    "AdaptiveLogSoftmaxWithLoss": "it has weights of its own, which belong in the model",
    "HSigmoidLoss": "it has weights of its own, which belong in the model",
    "MultiLabelMarginLoss": "Paddle can not build it for batches of any size",
}
# They compare predictions and targets of one shape, and would broadcast others.
_OF_ONE_SHAPE = {
    *("BCELoss", "BCEWithLogitsLoss", "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss"),
    *("MultiLabelSoftMarginLoss", "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss"),
}


def layer_loss(kind: Any, args: Mapping[str, Any], what: str) -> Callable[[Variable, Variable], Any]:
    """The loss that a Layer class computes, as a function of predictions and targets.

    A class of paddle.nn is built with reduction="none", unless `args` has a reduction. Its `weight` and `pos_weight` may be
    lists of numbers. what: its name in messages. Raises ConfigError for a wrong argument, and for a class that compares more
    than two variables.
    """
    check_arguments(kind, args, what=what)
    inputs = [each.name for each in list(inspect.signature(kind.forward).parameters.values())[1:] if each.default is each.empty]
    if len(inputs) > 2:
        raise ConfigError.of(
            f"{what} compares {len(inputs)} variables, {', '.join(inputs)}, not predictions and targets: "
            "name a function of your own that calls it",
            "name",
        )
    if kind not in LAYERS.values():
        return kind(**args)
    if kind.__name__ in _REFUSED:
        raise ConfigError.of(f"{what} can not be used: {_REFUSED[kind.__name__]}", "name")
    if kind is paddle.nn.MultiMarginLoss and args.get("weight") is not None:
        raise ConfigError.of("Paddle 2.6 computes wrong values with it: remove it", "args", "weight")
    kind(**{key: value for key, value in args.items() if key not in ("weight", "pos_weight")})  # Paddle checks the arguments.

    def loss(predictions: Variable, targets: Variable) -> Any:
        given = {key: value for key, value in args.items() if value is not None}
        if "reduction" not in given and "reduction" in inspect.signature(kind.__init__).parameters:
            if kind in _OF_LABELS and not {"weight", "ignore_index"}.isdisjoint(given):
                return _of_labels(kind, given, predictions, targets)
            given["reduction"] = "none"
        if kind is paddle.nn.BCEWithLogitsLoss and "pos_weight" in given:
            return _with_pos_weight(given, predictions, targets)
        if "weight" in given:
            given["weight"] = _constant(given["weight"], "weight")
        if kind.__name__ in _OF_ONE_SHAPE:
            predictions = of_one_shape(what, predictions, targets, "targets of the predictions' shape")
            targets = paddle.cast(targets, "float32") if has_classes(targets) else targets
        return kind(**given)(predictions, targets)

    return loss


def _of_labels(kind: Any, args: dict[str, Any], predictions: Variable, targets: Variable) -> Weighted:
    """The values of a class of `_OF_LABELS`, weighted by the class weights of labels or probabilities, 0 for `ignore_index`.

    Paddle's static mean is the same, except that it also counts ignored labels if `ignore_index` is negative.
    """
    weight, epsilon = args.pop("weight", None), args.get("label_smoothing", 0.0)
    axis = 1 if kind is paddle.nn.NLLLoss else args.get("axis", -1)
    counts, targets = without_ignored(targets, args.pop("ignore_index", None))
    values = kind(**args, reduction="none")(predictions, targets)
    if len(values.shape) == len(predictions.shape) and not (has_classes(targets) and len(targets.shape) == len(values.shape)):
        values = values.squeeze(axis)  # Paddle keeps the axis of probabilities and smoothed labels.
    if weight is None:
        return Weighted(values, counts)
    classes = numbers(weight, "weight", predictions.shape[axis], "class")
    if has_classes(targets):
        weights = paddle.gather_nd(classes, targets.unsqueeze(-1))
    else:
        weights = (paddle.moveaxis(targets, axis, -1) * classes).sum(axis=-1)
    if epsilon:
        weights = weights * (1.0 - epsilon) + classes.mean() * epsilon
    return Weighted(values, weights if counts is None else weights * counts)


def _with_pos_weight(args: Mapping[str, Any], predictions: Variable, targets: Variable) -> Variable:
    """The values of BCEWithLogitsLoss with a `pos_weight`, which Paddle 2.6 ignores in a static program."""
    if args["reduction"] != "none":
        raise ConfigError.of("remove it: beside pos_weight, ppema reduces the values", "args", "reduction")
    values = binary_cross_entropy(predictions, targets, args["pos_weight"])
    return values if "weight" not in args else values * _constant(args["weight"], "weight")


def _constant(value: Any, key: str) -> Variable:
    """A number, or a list of numbers, as a constant [1] or [L] float32."""
    each = value if isinstance(value, (list, tuple)) else [value]
    return numbers(list(each), key, max(len(each), 1), "output")
