"""The measured models in plain PyTorch, with the layers of paddle.vision.models, ppema.models and paddle_models.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]


def mlp(in_features: int, num_classes: int, hidden: Sequence[int]) -> nn.Module:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width, next_width in zip((in_features, *hidden), hidden, strict=False):
        layers += [nn.Linear(width, next_width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], num_classes))


def lenet(num_classes: int) -> nn.Module:
    """Paddle's LeNet, which has no activation between its Linear layers."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, num_classes)),
    )


def resnet18(num_classes: int) -> nn.Module:
    """ResNet-18: two 3 x 3 convolutions per block."""
    return _resnet(_basic, 1, (2, 2, 2, 2), num_classes)


def resnet50(num_classes: int) -> nn.Module:
    """ResNet-50: bottleneck blocks, with the stride in their 3 x 3 convolution."""
    return _resnet(_bottleneck, 4, (3, 4, 6, 3), num_classes)


def mobilenet_v2(num_classes: int) -> nn.Module:
    """MobileNetV2: inverted residuals of width 1.0."""
    layers: list[nn.Module] = [_conv(3, 32, 3, 2, activation=nn.ReLU6)]
    channels = 32
    settings = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, out, count, stride in settings:
        for index in range(count):
            layers.append(_inverted(channels, out, stride if index == 0 else 1, expansion))
            channels = out
    layers.append(_conv(channels, 1280, 1, activation=nn.ReLU6))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, num_classes))


class Encoder(nn.Module):
    """The encoder of paddle_models.py, by `torch.nn.TransformerEncoder`."""

    def __init__(self, features: int, width: int, heads: int, inner: int, layers: int, num_classes: int):
        super().__init__()
        self.first = nn.Linear(features, width)
        layer = nn.TransformerEncoderLayer(width, heads, inner, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.last = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.encoder(self.first(x)).mean(1))


class UNet(nn.Module):
    """The U-Net of paddle_models.py."""

    def __init__(self, channels: int, widths: Sequence[int], num_classes: int):
        super().__init__()
        levels = list(itertools.pairwise(widths))[::-1]
        self.down = nn.ModuleList([_pair(a, b) for a, b in zip((channels, *widths), widths, strict=False)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, 2) for a, b in levels])
        self.joined = nn.ModuleList([_pair(2 * a, a) for a, _ in levels])
        self.last = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for level, pair in enumerate(self.down):
            x = pair(nn.functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for up, pair, beside in zip(self.up, self.joined, kept[-2::-1], strict=True):
            x = pair(torch.cat([up(x), beside], 1))
        return self.last(x)


def _pair(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
        *(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
    )


class _Residual(nn.Module):
    """x ↦ after(body(x) + shortcut(x))."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, after: nn.Module):
        super().__init__()
        self.body, self.shortcut, self.after = body, shortcut, after

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y += self.shortcut(x)
        return self.after(y)


def _conv(
    inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, activation: Callable[..., nn.Module] | None = None
) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


def _basic(inputs: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, width, 3, stride, activation=nn.ReLU), _conv(width, width, 3))


def _bottleneck(inputs: int, width: int, stride: int) -> nn.Sequential:
    reduce = _conv(inputs, width, 1, activation=nn.ReLU)
    return nn.Sequential(reduce, _conv(width, width, 3, stride, activation=nn.ReLU), _conv(width, 4 * width, 1))


def _resnet(body: Callable[[int, int, int], nn.Module], expansion: int, blocks: Sequence[int], num_classes: int) -> nn.Module:
    layers: list[nn.Module] = [_conv(3, 64, 7, 2, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, count in enumerate(blocks):
        for index in range(count):
            width, stride = 64 * 2**stage, 2 if stage and index == 0 else 1
            out = width * expansion
            shortcut = nn.Identity() if (channels, stride) == (out, 1) else _conv(channels, out, 1, stride)
            layers.append(_Residual(body(channels, width, stride), shortcut, nn.ReLU(inplace=True)))
            channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


def _inverted(inputs: int, outputs: int, stride: int, expansion: int) -> nn.Module:
    width = inputs * expansion
    body = nn.Sequential(
        *([_conv(inputs, width, 1, activation=nn.ReLU6)] if expansion > 1 else []),
        *(_conv(width, width, 3, stride, width, nn.ReLU6), _conv(width, outputs, 1)),
    )
    return _Residual(body, nn.Identity(), nn.Identity()) if (stride, inputs) == (1, outputs) else body


MODELS = {
    "mlp": mlp,
    "paddle.vision.models.LeNet": lenet,
    "paddle.vision.models.resnet18": resnet18,
    "paddle.vision.models.resnet50": resnet50,
    "paddle.vision.models.mobilenet_v2": mobilenet_v2,
    "benchmarks.paddle_models.Encoder": Encoder,
    "benchmarks.paddle_models.UNet": UNet,
}
