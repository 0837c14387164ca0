"""The targets that a loss accepts, so that data can be checked before Paddle reads out of bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import paddle

from ppema.ir import Variable
from ppema.losses.binary import binary_cross_entropy, focal
from ppema.losses.checks import has_classes
from ppema.losses.classification import cross_entropy, several_classes
from ppema.losses.segmentation import dice


class TargetRange(NamedTuple):
    """Valid targets: lowest to highest, both included, and `ignored`. For labels of C classes: 0 to C - 1.

    ignored: the label of positions that do not count. None: there is none.
    """

    lowest: int
    highest: int
    ignored: int | None = None


def target_range(function: Any, args: Mapping[str, Any], predictions: Variable, targets: Variable) -> TargetRange | None:
    """The valid targets of a loss with `args`; None if nothing is known of them, as for numbers.

    function: the loss, or the class of a layer.
    """
    ignored = args.get("ignore_index")
    if function is binary_cross_entropy or (function in (focal, dice) and not several_classes(predictions, targets)):
        return TargetRange(0, 1, ignored)
    if not has_classes(targets):
        return None
    # The last axis of predictions is sure to be the classes of a loss of the user's own only if there is no other.
    known = function in (cross_entropy, focal, dice, paddle.nn.CrossEntropyLoss, paddle.nn.NLLLoss)
    if known or (len(predictions.shape) == 2 and len(targets.shape) == 1):
        axis = 1 if function is paddle.nn.NLLLoss else args.get("axis", -1)
        return TargetRange(0, predictions.shape[axis] - 1, ignored)
    return None
