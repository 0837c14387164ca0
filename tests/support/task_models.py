"""Models of other tasks than to class one image."""

from __future__ import annotations

import paddle


class TwoTasks(paddle.nn.Layer):
    """Classes and a size of an image that is first scaled; the outputs have names, the parameters another order."""

    def __init__(self):
        super().__init__()
        self.body = paddle.nn.Linear(4, 8)
        self.kind = paddle.nn.Linear(8, 3)
        self.size = paddle.nn.Linear(8, 1)

    def forward(self, scale, image):
        h = paddle.tanh(self.body(image * scale.unsqueeze(-1)))
        return {"kind": self.kind(h), "size": self.size(h)}


class OneName(TwoTasks):
    def forward(self, image, factor):
        return super().forward(factor, image)


class BagOfWords(paddle.nn.Layer):
    """Two classes of texts: the mean of the embeddings of the tokens above 0, or of all tokens if not `masked`."""

    def __init__(self, vocabulary: int, masked: bool = True):
        super().__init__()
        self.table = paddle.nn.Embedding(vocabulary, 4)
        self.linear = paddle.nn.Linear(4, 2)
        self.masked = masked

    def forward(self, tokens):
        weights = (tokens > 0).astype("float32") if self.masked else paddle.ones_like(tokens).astype("float32")
        sums = (self.table(tokens) * weights.unsqueeze(-1)).sum(axis=1)
        return self.linear(paddle.nn.functional.dropout(sums / weights.sum(axis=1, keepdim=True), 0.2, training=self.training))


class NormedTokens(paddle.nn.Layer):
    """Two classes of texts. BatchNorm is its first layer, so its statistics are those of the tokens, padding included."""

    def __init__(self):
        super().__init__()
        self.norm = paddle.nn.BatchNorm1D(1)
        self.linear = paddle.nn.Linear(1, 2)

    def forward(self, tokens):
        return self.linear(self.norm(tokens.astype("float32").unsqueeze(1)).mean(axis=2))


class Pixels(paddle.nn.Layer):
    """The first six pixels of an image as the logits of six classes, multiplied by a weight of ones."""

    def __init__(self):
        super().__init__()
        self.scale = self.create_parameter([6], default_initializer=paddle.nn.initializer.Constant(1.0))

    def forward(self, image):
        return image.flatten(1)[:, :6] * self.scale
