"""The network of two convolutions to which the list of results of Fashion-MNIST gives an accuracy of 0.934."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn


class TwoConvolutions(nn.Sequential):
    """Two stages of convolution, BatchNorm, ReLU and 2×2 max pooling, then a hidden and a last linear layer.

    The input is [N, 1, size, size] float32; the output is [N, 10] float32 logits.

    Args:
        widths: number of channels of each convolution.
        kernel: height and width of the convolutions, an odd number.
        hidden: width of the hidden layer.
        dropout: probability of dropping a hidden unit in training.
        size: height and width of the images, a multiple of 4.
    """

    def __init__(
        self, widths: Sequence[int] = (32, 64), kernel: int = 5, hidden: int = 128, dropout: float = 0.4, size: int = 28
    ):
        first, second = widths
        super().__init__(
            *_stage(1, first, kernel),
            *_stage(first, second, kernel),
            nn.Flatten(),
            nn.Linear(second * (size // 4) ** 2, hidden, bias_attr=False),
            nn.BatchNorm1D(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 10),
        )


def _stage(channels: int, width: int, kernel: int) -> list[paddle.nn.Layer]:
    # No bias: BatchNorm would subtract it with the mean.
    convolution = nn.Conv2D(channels, width, kernel, padding=kernel // 2, bias_attr=False)
    return [convolution, nn.BatchNorm2D(width), nn.ReLU(), nn.MaxPool2D(2)]
