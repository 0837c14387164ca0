"""What the numbers of an output are, by the loss that reads it."""

from __future__ import annotations

import paddle
import pytest

from ppema.losses import LAYERS, Scores, build_loss


class Spec:
    def __init__(self, name, **args):
        self.name, self.args = name, args


class Form:
    """The form of a variable."""

    def __init__(self, dtype, *shape):
        self.dtype, self.shape = getattr(paddle, dtype), shape


LABELS, MASKS, ONE_HOT = Form("int64", -1), Form("int64", -1, 5, 5), Form("float32", -1, 4)
LOGITS, PLANES = Form("float32", -1, 4), Form("float32", -1, 4, 5, 5)


@pytest.mark.parametrize(
    ("spec", "predictions", "targets", "expected"),
    [
        (Spec("cross_entropy"), LOGITS, LABELS, Scores("softmax", -1)),
        (Spec("cross_entropy", axis=1), PLANES, MASKS, Scores("softmax", -3)),
        (Spec("dice", axis=1), PLANES, MASKS, Scores("softmax", -3)),
        (Spec("dice"), PLANES, Form("int64", -1, 4, 5, 5), Scores("sigmoid", None)),
        (Spec("focal"), LOGITS, LABELS, Scores("softmax", -1)),
        (Spec("focal"), LOGITS, ONE_HOT, Scores("sigmoid", None)),
        (Spec("binary_cross_entropy"), LOGITS, ONE_HOT, Scores("sigmoid", None)),
        (Spec("paddle.nn.CrossEntropyLoss"), LOGITS, LABELS, Scores("softmax", -1)),
        (Spec("paddle.nn.CrossEntropyLoss", use_softmax=False), LOGITS, LABELS, Scores("none", -1)),
        (Spec("paddle.nn.NLLLoss"), PLANES, MASKS, Scores("exp", -3)),
        (Spec("paddle.nn.BCELoss"), LOGITS, ONE_HOT, Scores("none", None)),
        (Spec("paddle.nn.BCEWithLogitsLoss"), LOGITS, ONE_HOT, Scores("sigmoid", None)),
        (Spec("mse"), LOGITS, ONE_HOT, None),
        (Spec("paddle.nn.HuberLoss"), LOGITS, ONE_HOT, None),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_a_loss_takes_predictions_for(spec, predictions, targets, expected):
    if spec.name.rpartition(".")[2] not in LAYERS and spec.name.startswith("paddle"):
        pytest.skip(f"this Paddle has no {spec.name}")
    assert build_loss(spec).scores(predictions, targets) == expected
