"""The models whose training steps are measured. They are the same on every side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppema.data.sets.arrays import ArrayDataset
from ppema.data.sets.synthetic import synthetic

RATE, MOMENTUM, DECAY = 0.001, 0.9, 0.999
CLASSES = 10


@dataclass(frozen=True)
class Subject:
    """A model and its batch.

    model, args: as in a config's `model`; batch: samples per batch; shape: of one input; dense: whether each place of the input
    [..., H, W] has a label of its own, and the model's output is [N, CLASSES, H, W] instead of [N, CLASSES].
    """

    title: str
    model: str
    args: dict[str, Any]
    batch: int
    shape: tuple[int, ...]
    dense: bool = False

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """One batch: inputs float32 [batch, *shape] and labels int64 [batch], or [batch, H, W] of a dense subject."""
        made = labelled_places if self.dense else synthetic
        inputs, labels = made(self.batch, self.shape, CLASSES).arrays
        return inputs, labels

    def config(self, averages: dict[str, Any]) -> dict[str, Any]:
        """The config of a run that trains it on that one batch repeatedly."""
        arguments = {"samples": self.batch, "shape": list(self.shape), "classes": CLASSES}
        data = {"batch_size": self.batch}
        if self.dense:
            data |= {"name": f"{__name__}.labelled_places", "args": arguments}
            test, loss = data, {"loss": {"name": "cross_entropy", "args": {"axis": 1}}, "metrics": []}
        else:
            data |= {"name": "synthetic", **arguments}
            test, loss = {**data, "split": "test"}, {}
        return {
            "model": {"name": self.model, "args": self.args},
            "data": {"train": data, "eval": test},
            **loss,
            "optimizer": {"name": "Momentum", "args": {"momentum": MOMENTUM}},
            "lr": RATE,
            "averages": averages,
            "train": {"epochs": 1_000_000},
        }


def labelled_places(samples: int, shape: Sequence[int], classes: int) -> ArrayDataset:
    """The inputs of `synthetic` [samples, C, H, W], and a label for each place: int64 [samples, H, W].

    Labels are equally frequent: label i has the places whose first channel lies between two neighbouring quantiles.
    """
    inputs, _ = synthetic(samples, shape, classes).arrays
    bounds = np.quantile(inputs[:, 0], np.arange(1, classes) / classes)
    return ArrayDataset((inputs, np.digitize(inputs[:, 0], bounds)), "labelled places")


_VISION, _OWN = "paddle.vision.models.", "benchmarks.paddle_models."
_CLASSES = {"num_classes": CLASSES}
_MLP = {"in_features": 64, "num_classes": CLASSES, "hidden": [128]}
_ENCODER = {"features": 64, "width": 256, "heads": 4, "inner": 1024, "layers": 2, "num_classes": CLASSES}
_UNET = {"channels": 3, "widths": [32, 64, 128], "num_classes": CLASSES}
SUBJECTS = {
    "mlp": Subject("MLP 64-128-10, 64", "mlp", _MLP, 64, (64,)),
    "lenet": Subject("LeNet, 64 x 28^2", f"{_VISION}LeNet", _CLASSES, 64, (1, 28, 28)),
    "resnet18-32": Subject("ResNet-18, 32 x 32^2", f"{_VISION}resnet18", _CLASSES, 32, (3, 32, 32)),
    "resnet18-64": Subject("ResNet-18, 16 x 64^2", f"{_VISION}resnet18", _CLASSES, 16, (3, 64, 64)),
    "resnet50": Subject("ResNet-50, 8 x 64^2", f"{_VISION}resnet50", _CLASSES, 8, (3, 64, 64)),
    "mobilenet": Subject("MobileNetV2, 16 x 64^2", f"{_VISION}mobilenet_v2", _CLASSES, 16, (3, 64, 64)),
    "encoder": Subject("TransformerEncoder 2 x 256, 16 x 64 tokens", f"{_OWN}Encoder", _ENCODER, 16, (64, 64)),
    "unet": Subject("U-Net 32-64-128, 8 x 64^2", f"{_OWN}UNet", _UNET, 8, (3, 64, 64), dense=True),
}
