"""A small convolutional network with BatchNorm."""

from __future__ import annotations

from collections.abc import Sequence

import paddle


class CNN(paddle.nn.Sequential):
    """Stages of 3×3 convolution, BatchNorm and ReLU, 2×2 max pooling between them, a mean over the image, a linear layer.

    Takes [N, in_channels, H, W] float32, H and W at least 2^(stages - 1); returns [N, num_classes] logits.

    Args:
        in_channels: 1 for grey images, 3 for colour.
        num_classes: outputs.
        widths: the channels of each stage.
        dropout: the probability of dropping a feature before the linear layer while training.
    """

    def __init__(self, in_channels: int, num_classes: int, widths: Sequence[int] = (32, 64), dropout: float = 0.0):
        if not widths:
            raise ValueError("widths: at least one stage is needed")
        layers: list[paddle.nn.Layer] = []
        for stage, (channels, width) in enumerate(zip((in_channels, *widths), widths, strict=False)):
            if stage:
                layers.append(paddle.nn.MaxPool2D(2))
            layers += [
                # BatchNorm subtracts the mean, and with it any bias.
                paddle.nn.Conv2D(channels, width, 3, padding=1, bias_attr=False),
                paddle.nn.BatchNorm2D(width),
                paddle.nn.ReLU(),
            ]
        layers += [paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten()]
        if dropout:
            layers.append(paddle.nn.Dropout(dropout))
        super().__init__(*layers, paddle.nn.Linear(widths[-1], num_classes))
