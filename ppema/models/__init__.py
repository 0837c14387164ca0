"""Models of our own, for small data; every other model is named by its dotted path."""

from __future__ import annotations

from ppema.models.cnn import CNN
from ppema.models.mlp import MLP

MODELS = {"mlp": MLP, "cnn": CNN}

__all__ = ["CNN", "MLP", "MODELS"]
