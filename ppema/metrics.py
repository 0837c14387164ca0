"""Metrics: functions of predictions and targets that give one value per sample; the mean over a set is then exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import paddle

from ppema.errors import ConfigError, Problem
from ppema.ir import Variable
from ppema.losses import check_classes, difference, form, has_classes, mismatch, mse
from ppema.user_code.names import check_arguments, resolve

Metric = Callable[[Variable, Variable], Variable]


def accuracy(predictions: Variable, targets: Variable, k: int = 1) -> Variable:
    """1 if the target class is among the k largest predictions, else 0: [N] or [N, …] float32.

    predictions: [N, C] or [N, …, C] float32. targets: [N] or [N, …] int64, or probabilities of the predictions' shape, whose
    largest is the class. Raises ConfigError if the shapes do not fit, for a single class, and if k is not in [1, C].
    """
    if len(predictions.shape) < 2 or not 1 <= k <= predictions.shape[-1]:
        raise ConfigError.of(f"the top {k} of predictions {form(predictions)} can not be taken")
    shape = list(predictions.shape)
    if list(targets.shape) != (shape[:-1] if has_classes(targets) else shape):
        said = "int64 class labels of the predictions' shape without its last, or probabilities of the predictions' shape"
        raise mismatch("accuracy", predictions, targets, said)
    check_classes("accuracy", predictions, targets)
    if not has_classes(targets):
        targets = paddle.argmax(targets, axis=-1)
    if k == 1:
        hits = paddle.argmax(predictions, axis=-1) == targets
    else:
        _, largest = paddle.topk(predictions, k, axis=-1)
        hits = (largest == targets.unsqueeze(-1)).any(axis=-1)
    return paddle.cast(hits, "float32")


def mae(predictions: Variable, targets: Variable) -> Variable:
    """|predictions - targets|, both [N, …] float32, of that shape. Predictions [N, 1] fit targets [N].

    Raises ConfigError for other shapes or types.
    """
    return paddle.abs(difference("mae", predictions, targets))


METRICS: dict[str, Callable[..., Variable]] = {"accuracy": accuracy, "top5": partial(accuracy, k=5), "mse": mse, "mae": mae}


def build_metrics(specs: Sequence[Any]) -> dict[str, Metric]:
    """The metrics of `specs` (names and args of a config), by the last part of each name.

    Raises ConfigError for unknown names, wrong arguments and duplicate names.
    """
    metrics: dict[str, Metric] = {}
    problems: list[Problem] = []
    for index, spec in enumerate(specs):
        try:
            found = resolve(spec.name, METRICS, "metric")
            check_arguments(found, spec.args, positional=2, what=spec.name)
        except ConfigError as error:
            problems += [Problem((index, *problem.path), problem.message) for problem in error.problems]
            continue
        name = spec.name.rpartition(".")[2]
        if name in metrics or name == "loss":
            problems.append(Problem((index, "name"), f"there is already a metric named {name!r}"))
        metrics[name] = partial(found, **spec.args)
    if problems:
        raise ConfigError(problems)
    return metrics
