"""Logarithms of probabilities in float64, by formulas that hold for any logits."""

from __future__ import annotations

import numpy as np


def log_softmax(logits):
    """[…, C] float64."""
    shifted = np.asarray(logits, "float64") - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def log_sigmoid(logits):
    """float64 of the logits' shape."""
    return -np.logaddexp(0, -np.asarray(logits, "float64"))


def named(name, **args):
    """A name and its arguments, as a config has them."""
    from ppema.config import Named

    return Named(name=name, args=args)
