"""A small U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with BatchNorm and an auxiliary head."""

from __future__ import annotations

import itertools

import paddle
from paddle import nn
from paddle.nn import functional


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions 3 x 3, each with BatchNorm and ReLU."""
    layers = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2D(channels, outputs, 3, padding=1, bias_attr=False), nn.BatchNorm2D(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Layer):
    """Logits for every pixel, [N, H, W, classes]: "mask" of the last decoder, "aux" of the bottom, at a lower resolution.

    widths: channels of each level, from the top down. H and W are multiples of 2 ** (levels - 1).
    """

    def __init__(self, in_channels: int, classes: int, widths: list[int]):
        super().__init__()
        steps = list(itertools.pairwise([in_channels, *widths]))
        self.down = nn.LayerList([block(above, width) for above, width in steps])
        self.rise = nn.LayerList([nn.Conv2DTranspose(width, above, 2, stride=2) for above, width in steps[:0:-1]])
        self.up = nn.LayerList([block(2 * above, above) for above, _ in steps[:0:-1]])
        self.mask = nn.Conv2D(widths[0], classes, 1)
        self.aux = nn.Conv2D(widths[-1], classes, 1)

    def forward(self, image):
        levels, h = [], image
        for index, down in enumerate(self.down):
            h = down(functional.max_pool2d(h, 2) if index else h)
            levels.append(h)
        aux = functional.interpolate(self.aux(levels.pop()), scale_factor=2.0 ** len(levels), mode="bilinear")
        for rise, up in zip(self.rise, self.up, strict=True):
            h = up(paddle.concat([levels.pop(), rise(h)], axis=1))
        return {"mask": self.mask(h).transpose([0, 2, 3, 1]), "aux": aux.transpose([0, 2, 3, 1])}
