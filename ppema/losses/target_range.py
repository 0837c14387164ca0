"""The targets that a loss accepts, so that data can be checked before Paddle reads out of bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import paddle

from ppema.ir import Variable
from ppema.losses.binary import binary_cross_entropy, focal
from ppema.losses.checks import has_classes
from ppema.losses.classification import cross_entropy, several_classes
from ppema.losses.segmentation import dice

_YES_OR_NO = (binary_cross_entropy, paddle.nn.BCELoss, paddle.nn.BCEWithLogitsLoss)


class TargetRange(NamedTuple):
    """Valid targets: 0 to `highest`, both included, and `ignored`.

    ignored: the label of positions that do not count. None: there is none. classes: whether targets are labels of the model's
    `highest` + 1 classes, not a yes or no.
    """

    highest: int
    ignored: int | None = None
    classes: bool = True

    def both(self, other: TargetRange) -> TargetRange:
        """The targets that are valid in both."""
        ignored = self.ignored if self.ignored == other.ignored else None
        narrower = self if self.highest <= other.highest else other
        return TargetRange(narrower.highest, ignored, narrower.classes)

    def invalid(self, targets: np.ndarray) -> np.ndarray:
        """Which targets are not valid, bool of their shape. NaN is not."""
        wrong = ~((targets >= 0) & (targets <= self.highest))
        return wrong if self.ignored is None else wrong & (targets != self.ignored)

    def __str__(self) -> str:
        known = f"the model has {self.highest + 1} outputs, for labels" if self.classes else "the loss expects"
        return f"{known} 0 to {self.highest}" + (f", and {self.ignored} is ignored" if self.ignored is not None else "")


def target_range(function: Any, args: Mapping[str, Any], predictions: Any, targets: Variable) -> TargetRange | None:
    """The valid targets of a loss with `args`; None if nothing is known of them, as for numbers.

    function: the loss, or the class of a layer; predictions: a variable, or several by name, of which nothing is known.
    """
    if isinstance(predictions, Mapping):
        return None
    ignored = args.get("ignore_index")
    if function in _YES_OR_NO or (function in (focal, dice) and not several_classes(predictions, targets)):
        return TargetRange(1, ignored, classes=False)
    if not has_classes(targets):
        return None
    # The last axis of predictions is sure to be the classes of a loss of the user's own only if there is no other.
    known = function in (cross_entropy, focal, dice, paddle.nn.CrossEntropyLoss, paddle.nn.NLLLoss)
    if known or (len(predictions.shape) == 2 and len(targets.shape) == 1):
        axis = 1 if function is paddle.nn.NLLLoss else args.get("axis", -1)
        return TargetRange(predictions.shape[axis] - 1, ignored)
    return None
