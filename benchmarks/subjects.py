"""The models whose training steps are measured. They are the same on every side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ppema.data.sets.synthetic import synthetic

RATE, MOMENTUM, DECAY = 0.001, 0.9, 0.999
CLASSES = 10


@dataclass(frozen=True)
class Subject:
    """A model and its batch.

    model, args: as in a config's `model`; batch: samples per batch; shape: of one input; aim, share: the aims in words for the
    ratio of a step to PyTorch's, and for the EMA's share of a step.
    """

    title: str
    model: str
    args: dict[str, Any]
    batch: int
    shape: tuple[int, ...]
    aim: str = "-"
    share: str = "-"

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """One batch: inputs float32 [batch, *shape] and labels int64 [batch]."""
        inputs, labels = synthetic(self.batch, self.shape, CLASSES).arrays
        return inputs, labels

    def config(self, averages: dict[str, Any]) -> dict[str, Any]:
        """The config of a run that trains it on that one batch repeatedly."""
        data = {"name": "synthetic", "shape": list(self.shape), "classes": CLASSES}
        data |= {"samples": self.batch, "batch_size": self.batch}
        return {
            "model": {"name": self.model, "args": self.args},
            "data": {"train": data, "eval": {**data, "split": "test"}},
            "optimizer": {"name": "Momentum", "args": {"momentum": MOMENTUM}},
            "lr": RATE,
            "averages": averages,
            "train": {"epochs": 1_000_000},
        }


_VISION = "paddle.vision.models."
_CLASSES = {"num_classes": CLASSES}
_MLP = {"in_features": 64, "num_classes": CLASSES, "hidden": [128]}
SUBJECTS = {
    "mlp": Subject("MLP 64-128-10, 64", "mlp", _MLP, 64, (64,), "at most 1.0", "at most 10 %"),
    "lenet": Subject("LeNet, 64 x 28^2", f"{_VISION}LeNet", _CLASSES, 64, (1, 28, 28), "at most 1.5"),
    "resnet18-32": Subject(
        "ResNet-18, 32 x 32^2", f"{_VISION}resnet18", _CLASSES, 32, (3, 32, 32), "at most 1.2", "at most 5 %"
    ),
    "resnet18-64": Subject("ResNet-18, 16 x 64^2", f"{_VISION}resnet18", _CLASSES, 16, (3, 64, 64), "at most 1.2"),
    "resnet50": Subject("ResNet-50, 8 x 64^2", f"{_VISION}resnet50", _CLASSES, 8, (3, 64, 64), "at most 1.3"),
    "mobilenet": Subject("MobileNetV2, 16 x 64^2", f"{_VISION}mobilenet_v2", _CLASSES, 16, (3, 64, 64), "at most 1.2"),
}
