"""A small convolutional network with BatchNorm."""

from __future__ import annotations

from collections.abc import Sequence

import paddle


class CNN(paddle.nn.Sequential):
    """Stages of 3×3 convolution, BatchNorm and ReLU, then a mean over the image and a linear layer.

    There is 2×2 max pooling between the stages. The input is [N, in_channels, H, W] float32 with H and W at least
    2^(stages - 1); the output is [N, num_classes] float32 logits.

    Args:
        in_channels: 1 for grey images, 3 for colour.
        num_classes: number of outputs.
        widths: number of channels of each stage.
        dropout: probability of dropping a feature before the linear layer in training.

    Raises ValueError if `widths` is empty.
    """

    def __init__(self, in_channels: int, num_classes: int, widths: Sequence[int] = (32, 64), dropout: float = 0.0):
        if not widths:
            raise ValueError("widths: at least one stage is needed")
        layers: list[paddle.nn.Layer] = []
        for stage, (channels, width) in enumerate(zip((in_channels, *widths), widths, strict=False)):
            if stage:
                layers.append(paddle.nn.MaxPool2D(2))
            layers += [
                # No bias: BatchNorm would subtract it with the mean.
                paddle.nn.Conv2D(channels, width, 3, padding=1, bias_attr=False),
                paddle.nn.BatchNorm2D(width),
                paddle.nn.ReLU(),
            ]
        layers += [paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten()]
        if dropout:
            layers.append(paddle.nn.Dropout(dropout))
        super().__init__(*layers, paddle.nn.Linear(widths[-1], num_classes))
