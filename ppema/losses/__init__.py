"""Losses: functions of predictions and targets that give one value per sample, or `Weighted` values.

A loss with a dotted path may also be a Layer class such as paddle.nn.CrossEntropyLoss. It may return the mean over the batch
as a scalar.
"""

from ppema.losses.checks import (
    check_classes,
    classes_last,
    difference,
    fit,
    form,
    has_classes,
    mismatch,
    of_one_shape,
    one_output,
    without,
)
from ppema.losses.loss_arguments import class_axis
from ppema.losses.named_loss import LOSSES, build_loss
from ppema.losses.paddle_losses import LAYERS
from ppema.losses.regression import mae, mse
from ppema.losses.scores import Scores
from ppema.losses.target_range import TargetRange
from ppema.losses.weighted import Weighted, mean, per_sample

__all__ = [
    "LAYERS",
    "LOSSES",
    "Scores",
    "TargetRange",
    "Weighted",
    "build_loss",
    "check_classes",
    "class_axis",
    "classes_last",
    "difference",
    "fit",
    "form",
    "has_classes",
    "mae",
    "mean",
    "mismatch",
    "mse",
    "of_one_shape",
    "one_output",
    "per_sample",
    "without",
]
