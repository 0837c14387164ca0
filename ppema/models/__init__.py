"""ppema's own models, for small data. A config names any other model by its dotted path."""

from __future__ import annotations

from ppema.models.cnn import CNN
from ppema.models.mlp import MLP

MODELS = {"mlp": MLP, "cnn": CNN}

__all__ = ["CNN", "MLP", "MODELS"]
