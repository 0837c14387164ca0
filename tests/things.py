"""What test configs name by dotted path: models, losses, metrics and data sets, good and bad."""

from __future__ import annotations

import numpy as np
import paddle


class Nested(paddle.nn.Layer):
    """Dropout and BatchNorm inside the branches of a `cond`, channel-wise dropout, and code that asks `self.training`."""

    def __init__(self, classes: int):
        super().__init__()
        self.norm = paddle.nn.BatchNorm2D(1)
        self.channels = paddle.nn.Dropout2D(0.5)
        self.linear = paddle.nn.Linear(64, classes)

    def forward(self, images):
        h = self.channels(self.norm(images)).flatten(1)
        h = paddle.static.nn.cond(
            h.mean() > 0,
            lambda: paddle.nn.functional.dropout(h, 0.5, training=self.training),
            lambda: paddle.nn.functional.dropout(h, 0.3, training=self.training) * 1.0,
        )
        return self.linear(h) * (2.0 if self.training else 1.0)


class Unstable(paddle.nn.Layer):
    """Other variables in training than in evaluation."""

    def __init__(self):
        super().__init__()
        Unstable.made = getattr(Unstable, "made", 0) + 1
        self.linear = paddle.nn.Linear(64, 10 + Unstable.made % 2)

    def forward(self, images):
        return self.linear(images.flatten(1))


class TwoOutputs(paddle.nn.Layer):
    def forward(self, images):
        return images, images


def raising_model():
    raise RuntimeError("no weights\ntoday")


def not_a_layer():
    return 5


class Noisy:
    """16 samples of shape [4] that draw from numpy's global generator."""

    def __len__(self):
        return 16

    def __getitem__(self, index):
        return np.random.normal(size=4).astype("float32"), np.int64(index % 2)


class Breaks:
    """Raises at sample `at`."""

    def __init__(self, at: int):
        self.at = at

    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == self.at:
            raise OSError("the disk\nis gone")
        return np.full(4, index, "float32"), np.int64(index % 2)


class Labels:
    """40 samples whose label is 0, but for sample `at`, whose label is `label`."""

    def __init__(self, at: int, label: int):
        self.at, self.label = at, label

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return np.full(4, index, "float32"), np.int64(self.label if index == self.at else 0)


class Empty:
    def __len__(self):
        return 0

    def __getitem__(self, index):
        raise IndexError


class Dies:
    """Ends its process at sample 5."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            import os

            os._exit(7)
        return np.zeros(4, "float32"), np.int64(0)


def nan_loss(predictions, targets):
    return predictions.mean(axis=1) * float("nan")


def scalar_loss(predictions, targets):
    return paddle.nn.functional.cross_entropy(predictions, targets)


def batch_of_ones(predictions, targets):
    return paddle.ones_like(targets)
