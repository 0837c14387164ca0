"""A script of a rank: trains each config of a folder in turn. And the model of these configs."""

from __future__ import annotations

import sys
from pathlib import Path

import ppema

if __name__ == "__main__":
    for path in sorted(Path(sys.argv[1]).glob("*.yml")):
        ppema.train(ppema.load_config(path))
else:
    import paddle

    from support.ddp_cases import CLASSES, FEATURES, WIDTH

    class Perceptron(paddle.nn.Layer):
        """One hidden layer, with BatchNorm or without."""

        def __init__(self, norm: bool):
            super().__init__()
            self.first = paddle.nn.Linear(FEATURES, WIDTH)
            self.norm = paddle.nn.BatchNorm1D(WIDTH) if norm else paddle.nn.Identity()
            self.last = paddle.nn.Linear(WIDTH, CLASSES)

        def forward(self, x):
            return self.last(paddle.tanh(self.norm(self.first(x))))
