"""Losses for numbers."""

from __future__ import annotations

import paddle

from ppema.ir import Variable
from ppema.losses.checks import difference


def mse(predictions: Variable, targets: Variable) -> Variable:
    """(predictions - targets)², both [N, …] float32, of that shape. Predictions [N, 1] fit targets [N].

    Raises ConfigError for other shapes or types.
    """
    return paddle.square(difference("mse", predictions, targets))
