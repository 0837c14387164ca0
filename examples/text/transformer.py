"""A classifier of texts on `paddle.nn.TransformerEncoder`, for batches that are padded with 0."""

from __future__ import annotations

import paddle
from paddle import nn


class TextClassifier(nn.Layer):
    """Logits [N, classes] of words int64 [N, L], where 0 is padding. L may differ from batch to batch, up to `longest`."""

    def __init__(self, words: int, classes: int, longest: int, width: int = 32, heads: int = 4, layers: int = 2):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.place = self.create_parameter([longest, width], default_initializer=nn.initializer.Normal(std=0.02))
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.1, normalize_before=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, classes)

    def forward(self, words):
        real = (words != 0).astype("float32")  # [N, L]
        h = self.embedding(words) + self.place[: paddle.shape(words)[1]]
        h = self.encoder(h, (real - 1.0).unsqueeze([1, 2]) * 1e9)  # no word attends to padding
        mean = (h * real.unsqueeze(-1)).sum(axis=1) / real.sum(axis=1, keepdim=True)
        return self.head(mean)
