"""What the numbers of an output are, as its loss reads them: scores of classes, of a yes or no, or probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import paddle

from ppema.ir import Variable
from ppema.losses.binary import binary_cross_entropy, focal
from ppema.losses.classification import cross_entropy, several_classes
from ppema.losses.segmentation import dice

_YES_OR_NO = (binary_cross_entropy, paddle.nn.BCEWithLogitsLoss, paddle.nn.MultiLabelSoftMarginLoss)


class Scores(NamedTuple):
    """How an output's numbers become probabilities.

    by: "softmax" over the classes' axis; "sigmoid", each number alone; "exp" of log-probabilities; "none" if they are
    probabilities. axis: that of the classes, counted from the end; None if each number is a yes or no of its own.
    """

    by: Literal["softmax", "sigmoid", "exp", "none"]
    axis: int | None

    def probabilities(self, output: Variable) -> Variable:
        """Append the probabilities of `output`, of its shape, to the default main program."""
        match self.by:
            case "softmax":
                return paddle.nn.functional.softmax(output, axis=-1 if self.axis is None else self.axis)
            case "sigmoid":
                return paddle.nn.functional.sigmoid(output)
            case "exp":
                return paddle.exp(output)
            case "none":
                return output


def scores_of(function: Any, args: Mapping[str, Any], predictions: Variable, targets: Variable) -> Scores | None:
    """What a loss with `args` takes `predictions` for. None: plain numbers, or nothing is known.

    function: the loss, or the class of a layer; targets: a variable of the targets' shape and type.
    """
    if function in _YES_OR_NO or (function in (focal, dice) and not several_classes(predictions, targets)):
        return Scores("sigmoid", None)
    if function is paddle.nn.BCELoss:
        return Scores("none", None)
    rank = len(predictions.shape)
    if function is paddle.nn.NLLLoss:
        return Scores("exp", 1 - rank)
    if function not in (cross_entropy, focal, dice, paddle.nn.CrossEntropyLoss):
        return None
    by = "softmax" if args.get("use_softmax", True) else "none"
    return Scores(by, args.get("axis", -1) % rank - rank)
