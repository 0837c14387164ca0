"""Models of other frameworks, built with paddle: timm's vision transformer with its names, and a small one of Keras."""

from __future__ import annotations

import paddle
from paddle import nn


class SelfAttention(nn.Layer):
    """Self-attention with one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        _, tokens, width = x.shape
        split = self.qkv(x).reshape([-1, tokens, 3, self.heads, width // self.heads]).transpose([2, 0, 3, 1, 4])
        query, key, value = split[0], split[1], split[2]
        scores = paddle.matmul(query, key, transpose_y=True) * (width // self.heads) ** -0.5
        mixed = paddle.matmul(nn.functional.softmax(scores), value).transpose([0, 2, 1, 3])
        return self.proj(mixed.reshape([-1, tokens, width]))


class TransformerBlock(nn.Layer):
    """timm's Block, whose LayerNorm has an epsilon of 1e-6."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn = SelfAttention(width, heads)
        self.mlp = nn.Layer()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp.fc2(nn.functional.gelu(self.mlp.fc1(self.norm2(x))))


class VisionTransformer(nn.Layer):
    """timm's VisionTransformer with a class token."""

    def __init__(self, size: int, patch: int, width: int, depth: int, heads: int, classes: int):
        super().__init__()
        self.cls_token = self.create_parameter([1, 1, width])
        self.pos_embed = self.create_parameter([1, (size // patch) ** 2 + 1, width])
        self.patch_embed = nn.Layer()
        self.patch_embed.proj = nn.Conv2D(3, width, patch, stride=patch)
        self.blocks = nn.LayerList([TransformerBlock(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, 1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, images):
        patches = self.patch_embed.proj(images).flatten(2).transpose([0, 2, 1])
        token = paddle.zeros_like(patches[:, :1]) + self.cls_token
        x = paddle.concat([token, patches], axis=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class OfKeras(nn.Layer):
    """The model of tests/training/foreign/record_foreign.py. Keras' BatchNorm has an epsilon of 1e-3."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 6, 3, stride=2, bias_attr=False)
        self.bn = nn.BatchNorm2D(6, epsilon=1e-3)
        self.depthwise = nn.Conv2D(6, 6, 3, padding=1, groups=6)
        self.up = nn.Conv2DTranspose(6, 5, (2, 3), stride=2)
        self.hidden = nn.Linear(5, 5)
        self.head = nn.Linear(5, 4)

    def forward(self, images):
        relu = nn.functional.relu
        x = self.up(relu(self.depthwise(relu(self.bn(self.conv(images))))))
        return self.head(nn.functional.gelu(self.hidden(x.mean([2, 3]))))
