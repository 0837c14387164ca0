"""Yes or no for each of several labels of a sample, which the argument `multilabel` of a metric tells from positions."""

from __future__ import annotations

from typing import NamedTuple

import paddle

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.losses import class_axis, fit, form, mismatch
from ppema.metrics.metric import Counts
from ppema.values import shown


class LabelAnswers(NamedTuple):
    """Predicted and true answers, bool, of the predictions' shape. axis: of the labels; labels: their number.

    counted: where a target counts; strays: where one that counts is neither 0 nor 1.
    """

    guessed: Variable
    true: Variable
    counted: Variable
    strays: Variable
    axis: int
    labels: int

    def of_each(self, answers: Variable) -> Counts:
        """The number of `answers` for each label: [labels] int64."""
        others = [axis for axis in range(len(answers.shape)) if axis != self.axis]
        return Counts(paddle.cast(answers, "int64").sum(axis=others).reshape([self.labels]))


def check_multilabel(multilabel: object) -> None:
    """Raises ConfigError for a value that is not true, false or null."""
    if not (multilabel is None or isinstance(multilabel, bool)):
        raise ConfigError.of(f"expected true, false or null, got {shown(multilabel)}", "args", "multilabel")


def refuse_unclear(name: str, predictions: Variable, targets: Variable, multilabel: bool | None) -> None:
    """Raises ConfigError for predictions and targets [N, K] without `multilabel`: they could be labels or positions.

    name: the metric, for the message. Dimensions that differ between batches are positions, and so are those of images.
    """
    if multilabel is not None or len(predictions.shape) != 2 or not fit(predictions.shape, targets.shape):
        return
    size = max(predictions.shape[1], targets.shape[1])
    if size > 1:
        raise ConfigError.of(
            f"{name}: predictions {form(predictions)} and targets {form(targets)} could be {size} labels of a sample or "
            f"{size} positions: give `multilabel: true` for labels, `multilabel: false` for positions",
            "args",
        )


def answers_of_labels(
    name: str, predictions: Variable, targets: Variable, *, axis: int, threshold: float | None, ignore_index: int | None
) -> LabelAnswers:
    """The answers to each label: yes, if a prediction is above the threshold (None: 0).

    predictions: [N, K] or [N, …, K] float32, or with the labels at another `axis`; targets: of that shape, int64 or float32, 0
    or 1. Raises ConfigError for other shapes. name: the metric, for messages.
    """
    if len(predictions.shape) < 2 or not fit(predictions.shape, targets.shape):
        raise mismatch(f"{name} with multilabel: true", predictions, targets, "targets of the predictions' shape, as [N, K]")
    axis = class_axis(axis, len(predictions.shape)) % len(predictions.shape)
    size = predictions.shape[axis]
    if size == -1:
        raise ConfigError.of(f"{name} needs a known number of labels at axis {axis}; the model gives {form(predictions)}")
    true = targets == 1
    counted = paddle.full_like(true, True) if ignore_index is None else targets != ignore_index
    strays = counted & ~(true | (targets == 0))
    return LabelAnswers(predictions > (threshold or 0.0), true, counted, strays, axis, size)
