"""The measured models that Paddle and ppema do not have: a Transformer's encoder and a U-Net."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import paddle
from paddle import nn


class Encoder(nn.Layer):
    """A linear layer, `paddle.nn.TransformerEncoder` without dropout, the mean over tokens, and a linear layer.

    The input is [N, tokens, features] float32, the output [N, num_classes] float32 logits. inner: width inside a feed-forward
    block.
    """

    def __init__(self, features: int, width: int, heads: int, inner: int, layers: int, num_classes: int):
        super().__init__()
        self.first = nn.Linear(features, width)
        layer = nn.TransformerEncoderLayer(width, heads, inner, dropout=0.0, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.last = nn.Linear(width, num_classes)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.last(self.encoder(self.first(x)).mean(1))


class UNet(nn.Layer):
    """A U-Net: pairs of 3 × 3 convolution, BatchNorm and ReLU; max pooling down, transposed convolutions up.

    The input is [N, channels, H, W] float32 with H and W multiples of 2^(len(widths) - 1). The output is
    [N, num_classes, H, W] float32 logits.
    """

    def __init__(self, channels: int, widths: Sequence[int], num_classes: int):
        super().__init__()
        levels = list(itertools.pairwise(widths))[::-1]
        self.down = nn.LayerList([_pair(a, b) for a, b in zip((channels, *widths), widths, strict=False)])
        self.up = nn.LayerList([nn.Conv2DTranspose(b, a, 2, 2) for a, b in levels])
        self.joined = nn.LayerList([_pair(2 * a, a) for a, _ in levels])
        self.last = nn.Conv2D(widths[0], num_classes, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        kept: list[paddle.Tensor] = []
        for level, pair in enumerate(self.down):
            x = pair(nn.functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for up, pair, beside in zip(self.up, self.joined, kept[-2::-1], strict=True):
            x = pair(paddle.concat([up(x), beside], 1))
        return self.last(x)


def _pair(inputs: int, outputs: int) -> nn.Layer:
    layers: list[nn.Layer] = []
    for source in (inputs, outputs):
        layers += [nn.Conv2D(source, outputs, 3, padding=1, bias_attr=False), nn.BatchNorm2D(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class Weights(nn.Layer):
    """Float32 weights of these shapes, of 0.5. The output is the input times another weight of one number."""

    def __init__(self, shapes: Sequence[Sequence[int]]):
        super().__init__()
        half = nn.initializer.Constant(0.5)
        for index, shape in enumerate(shapes):
            weight = self.create_parameter(list(shape), dtype="float32", default_initializer=half)
            self.add_parameter(f"weight{index}", weight)
        self.scale = self.create_parameter([1], dtype="float32", default_initializer=half)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x * self.scale
