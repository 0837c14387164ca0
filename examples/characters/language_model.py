"""A language model of characters: a TransformerEncoder in which no place sees a later one."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn


class LanguageModel(nn.Layer):
    """Logits [N, L, symbols] of the next symbol after each of int64 [N, L], with the L of `length`."""

    def __init__(self, symbols: int, length: int, width: int = 48, heads: int = 4, layers: int = 2):
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.place = self.create_parameter([length, width], default_initializer=nn.initializer.Normal(std=0.02))
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, activation="gelu", normalize_before=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, symbols)
        self.later = np.triu(np.full((length, length), -1e9, np.float32), k=1).tolist()

    def forward(self, characters):
        mask = paddle.to_tensor(self.later, dtype="float32")
        return self.head(self.encoder(self.embedding(characters) + self.place, mask))
