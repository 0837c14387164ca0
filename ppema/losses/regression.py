"""Losses for numbers."""

from __future__ import annotations

import paddle

from ppema.ir import Variable
from ppema.losses.checks import difference
from ppema.losses.loss_arguments import number


def mse(predictions: Variable, targets: Variable) -> Variable:
    """(predictions - targets)², both [N, …] float32, of that shape.

    Predictions [N, …, 1] and [N, 1, …] fit targets [N, …]. All losses of numbers raise ConfigError for other shapes or types.
    """
    return paddle.square(difference("mse", predictions, targets))


def mae(predictions: Variable, targets: Variable) -> Variable:
    """|predictions - targets|, both [N, …] float32, of that shape."""
    return paddle.abs(difference("mae", predictions, targets))


def smooth_l1(predictions: Variable, targets: Variable, beta: float = 1.0) -> Variable:
    """d² / (2β) where |d| < β, |d| - β/2 elsewhere, d = predictions - targets (Girshick 2015, eq. 3, for β = 1).

    It is torch.nn.SmoothL1Loss without its mean, and `huber` with δ = β divided by β. paddle.nn.SmoothL1Loss(delta=δ) is
    `huber` by default. predictions, targets: [N, …] float32; beta: > 0. Returns [N, …] float32.
    """
    beta = number(beta, "beta", "a number > 0", low=0, low_fits=False)
    return _quadratic_near_0(paddle.abs(difference("smooth_l1", predictions, targets)), beta) / beta


def huber(predictions: Variable, targets: Variable, delta: float = 1.0) -> Variable:
    """d² / 2 where |d| < δ, δ·(|d| - δ/2) elsewhere, d = predictions - targets (Huber 1964, section 4).

    It is torch.nn.HuberLoss and paddle.nn.SmoothL1Loss without their mean. predictions, targets: [N, …] float32; delta: > 0.
    Returns [N, …] float32.
    """
    delta = number(delta, "delta", "a number > 0", low=0, low_fits=False)
    return _quadratic_near_0(paddle.abs(difference("huber", predictions, targets)), delta)


def _quadratic_near_0(distance: Variable, bound: float) -> Variable:
    """distance² / 2 below `bound`, and its tangent beyond. The product squares no large distance, which could overflow."""
    near = paddle.clip(distance, max=bound)
    return near * (distance - near / 2)
