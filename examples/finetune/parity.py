"""A CNN in two parts, a backbone and a head, so that a config can treat each in its own way."""

from __future__ import annotations

import paddle
from paddle import nn

from ppema.models import CNN


class BackboneAndHead(nn.Layer):
    """Logits [N, classes] of images [N, 1, 8, 8]. The backbone gives 64 features."""

    def __init__(self, classes: int):
        super().__init__()
        self.backbone = CNN(in_channels=1, num_classes=64, widths=[16, 32])
        self.head = nn.Linear(64, classes)

    def forward(self, image):
        return self.head(paddle.nn.functional.relu(self.backbone(image)))
