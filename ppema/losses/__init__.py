"""Losses: functions of predictions and targets that give one value per sample, or `Weighted` values.

A loss with a dotted path may also be a Layer class such as paddle.nn.CrossEntropyLoss. It may return the mean over the batch
as a scalar.
"""

from ppema.losses.checks import check_classes, difference, form, has_classes, mismatch
from ppema.losses.named_loss import LOSSES, build_loss
from ppema.losses.paddle_losses import LAYERS
from ppema.losses.regression import mae, mse
from ppema.losses.target_range import TargetRange
from ppema.losses.weighted import Weighted, mean, per_sample

__all__ = [
    "LAYERS",
    "LOSSES",
    "TargetRange",
    "Weighted",
    "build_loss",
    "check_classes",
    "difference",
    "form",
    "has_classes",
    "mae",
    "mean",
    "mismatch",
    "mse",
    "per_sample",
]
