"""A multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

import paddle


class MLP(paddle.nn.Sequential):
    """Linear layers with ReLU between them, on the flattened input.

    The input is [N, …] float32 with `in_features` numbers per sample; the output is [N, num_classes] float32 logits.

    Args:
        in_features: numbers per sample.
        num_classes: number of outputs.
        hidden: widths of the hidden layers.
        dropout: probability of dropping a hidden unit in training.
    """

    def __init__(self, in_features: int, num_classes: int, hidden: Sequence[int] = (128,), dropout: float = 0.0):
        layers: list[paddle.nn.Layer] = [paddle.nn.Flatten()]
        for width, next_width in zip((in_features, *hidden), hidden, strict=False):
            layers += [paddle.nn.Linear(width, next_width), paddle.nn.ReLU()]
            if dropout:
                layers.append(paddle.nn.Dropout(dropout))
        last = hidden[-1] if hidden else in_features
        super().__init__(*layers, paddle.nn.Linear(last, num_classes))
