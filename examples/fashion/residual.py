"""Residual networks for small images: ResNet-18 (He et al. 2015, arXiv:1512.03385), and narrower or shallower ones."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn


class ResNet(nn.Layer):
    """A 3×3 convolution, stages of residual blocks, the mean over the image, and a linear layer.

    The first convolution replaces that for ImageNet, 7×7 with a stride of 2, and its pooling: the images are small. A stage has
    twice the channels of the one before it, and half the height and width. The default is ResNet-18: 11.2 million parameters.

    The input is [N, in_channels, H, W] float32; the output is [N, num_classes] float32 logits.

    Args:
        blocks: number of residual blocks of each stage.
        width: number of channels of the first stage.
        stride: of the first convolution.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        blocks: Sequence[int] = (2, 2, 2, 2),
        width: int = 64,
        stride: int = 1,
    ):
        super().__init__()
        layers: list[nn.Layer] = [*_normalised(in_channels, width, 3, stride), nn.ReLU()]
        channels = width
        for stage, count in enumerate(blocks):
            for block in range(count):
                layers.append(Block(channels, width << stage, stride=2 if stage and not block else 1))
                channels = width << stage
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2D(1), nn.Flatten())
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images):
        return self.head(self.features(images))


class Block(nn.Layer):
    """ReLU(x + two convolutions of x). A 1×1 convolution changes x where shapes differ."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            *_normalised(channels, width, 3, stride),
            nn.ReLU(),
            *_normalised(width, width, 3, 1),
        )
        same = channels == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*_normalised(channels, width, 1, stride))

    def forward(self, images):
        return nn.functional.relu(self.body(images) + self.shortcut(images))


def _normalised(channels: int, width: int, kernel: int, stride: int) -> list[nn.Layer]:
    # No bias: BatchNorm would subtract it with the mean.
    convolution = nn.Conv2D(channels, width, kernel, stride, padding=kernel // 2, bias_attr=False)
    return [convolution, nn.BatchNorm2D(width)]
