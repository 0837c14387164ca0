"""Convolutions with pooling and BatchNorm, then two linear layers: small networks that learn fast on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn


class Convolutions(nn.Layer):
    """Stages of convolution, BatchNorm and ReLU, then a hidden and a last linear layer.

    2×2 max pooling follows the convolution of each of the first two stages. The hidden layer has a weight for each place of the
    image, since clothes are always in its middle.

    The input is [N, 1, size, size] float32; the output is [N, 10] float32 logits.

    Args:
        widths: number of channels of each stage, of which there are at least two.
        kernels: height and width of each stage's convolution, odd numbers.
        hidden: width of the hidden layer.
        dropout: probability of dropping a hidden unit in training.
        size: height and width of the images, a multiple of 4.
        mirrored: whether an evaluation takes the mean of the logits of each image and of its mirror image.
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 64),
        kernels: Sequence[int] = (5, 5),
        hidden: int = 128,
        dropout: float = 0.4,
        size: int = 28,
        mirrored: bool = False,
    ):
        super().__init__()
        layers: list[nn.Layer] = []
        for stage, (channels, width, kernel) in enumerate(zip((1, *widths), widths, kernels, strict=False)):
            # No bias: BatchNorm would subtract it with the mean.
            convolution = nn.Conv2D(channels, width, kernel, padding=kernel // 2, bias_attr=False)
            # ReLU after pooling is the same as before it, and BatchNorm has a quarter of the work.
            pooling = [nn.MaxPool2D(2)] if stage < 2 else []
            layers += [convolution, *pooling, nn.BatchNorm2D(width), nn.ReLU()]
        places = (size // 4) ** 2
        layers += [nn.Flatten(), nn.Linear(widths[-1] * places, hidden, bias_attr=False), nn.BatchNorm1D(hidden), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(hidden, 10))
        self.mirrored = mirrored

    def forward(self, images):
        logits = self.body(images)
        if self.mirrored and not self.training:
            logits = 0.5 * (logits + self.body(paddle.flip(images, axis=[3])))
        return logits
