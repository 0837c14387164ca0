"""The losses that a config can name, and the loss of a config."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ppema.ir import Variable
from ppema.losses.classification import cross_entropy
from ppema.losses.regression import mse
from ppema.losses.weighted import Weighted
from ppema.user_code.names import check_arguments, resolve

Loss = Callable[[Variable, Variable], Variable | Weighted]

LOSSES: dict[str, Callable[..., Variable | Weighted]] = {"cross_entropy": cross_entropy, "mse": mse}


def build_loss(spec: Any) -> Loss:
    """The loss of `spec`, a config's name and args. Raises ConfigError for an unknown name or a wrong argument."""
    found = resolve(spec.name, LOSSES, "loss")
    if isinstance(found, type):
        check_arguments(found, spec.args, what=spec.name)
        return found(**spec.args)
    check_arguments(found, spec.args, positional=2, what=spec.name)
    return partial(found, **spec.args)
