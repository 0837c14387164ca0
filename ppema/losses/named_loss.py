"""The losses that a config can name, and the loss of a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import paddle

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.losses.binary import binary_cross_entropy, focal
from ppema.losses.classification import cross_entropy
from ppema.losses.paddle_losses import LAYERS, layer_loss
from ppema.losses.regression import huber, mae, mse, smooth_l1
from ppema.losses.scores import Scores, scores_of
from ppema.losses.segmentation import dice
from ppema.losses.target_range import TargetRange, target_range
from ppema.user_code.names import check_arguments, resolve

LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "focal": focal,
    "dice": dice,
    "mse": mse,
    "mae": mae,
    "smooth_l1": smooth_l1,
    "huber": huber,
}


@dataclass(frozen=True)
class Loss:
    """A loss of a config. Call it with predictions and targets.

    It returns values per sample, [N] or [N, …], alone or `Weighted`, or the mean of the batch as a scalar. A loss of the user's
    own may return anything.

    function: a loss function, or the class of a layer; args: its arguments; compute: the call, with these arguments.
    """

    function: Any
    args: Mapping[str, Any]
    compute: Callable[[Any, Any], Any]

    def __call__(self, predictions: Any, targets: Any) -> Any:
        """The values of the loss. Raises ConfigError for predictions, targets or arguments that do not fit."""
        several = isinstance(predictions, Mapping) or isinstance(targets, Mapping)
        if several and self.function in (*LOSSES.values(), *LAYERS.values()):
            raise ConfigError.of(
                f"{self.function.__name__} takes one output and one target: give each its part of `losses`, or name a function "
                "of your own"
            )
        return self.compute(predictions, targets)

    def accepts(self, predictions: Any, targets: Variable) -> TargetRange | None:
        """The valid targets, if the loss limits them."""
        return target_range(self.function, self.args, predictions, targets)

    def scores(self, predictions: Variable, targets: Variable) -> Scores | None:
        """What the loss takes predictions for; None if they are plain numbers, or if nothing is known of them."""
        return scores_of(self.function, self.args, predictions, targets)


def build_loss(spec: Any) -> Loss:
    """The loss of `spec`, a config's name and args. Raises ConfigError for an unknown name or a wrong argument."""
    found = resolve(spec.name, {**LOSSES, **LAYERS}, "loss")
    if isinstance(found, type) and issubclass(found, paddle.nn.Layer):
        return Loss(found, spec.args, layer_loss(found, spec.args, spec.name))
    if isinstance(found, type):
        check_arguments(found, spec.args, what=spec.name)
        return Loss(found, spec.args, found(**spec.args))
    check_arguments(found, spec.args, positional=2, what=spec.name)
    return Loss(found, spec.args, partial(found, **spec.args))
