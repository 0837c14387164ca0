"""The targets that a loss accepts."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.exact import named

from ppema.errors import ConfigError
from ppema.losses import TargetRange, build_loss

LABELS, MASK = ([-1], "int64"), ([-1, 8, 8], "int64")


@pytest.mark.parametrize(
    ("name", "args", "predictions", "targets", "expected"),
    [
        ("cross_entropy", {}, [-1, 5], LABELS, TargetRange(4)),
        ("cross_entropy", {"ignore_index": 255, "axis": 1}, [-1, 3, 8, 8], MASK, TargetRange(2, 255)),
        ("cross_entropy", {}, [-1, 5], ([-1, 5], "float32"), None),
        ("binary_cross_entropy", {"ignore_index": -1}, [-1, 8, 8], MASK, TargetRange(1, -1, classes=False)),
        ("binary_cross_entropy", {}, [-1, 5], ([-1, 5], "float32"), TargetRange(1, classes=False)),
        ("BCELoss", {}, [-1, 5], ([-1, 5], "float32"), TargetRange(1, classes=False)),
        ("paddle.nn.BCEWithLogitsLoss", {}, [-1, 1], LABELS, TargetRange(1, classes=False)),
        ("focal", {}, [-1, 1], LABELS, TargetRange(1, classes=False)),
        ("focal", {}, [-1, 5], LABELS, TargetRange(4)),
        ("dice", {}, [-1, 1, 8, 8], MASK, TargetRange(1, classes=False)),
        ("dice", {"axis": 1}, [-1, 3, 8, 8], MASK, TargetRange(2)),
        ("NLLLoss", {}, [-1, 3, 8, 8], MASK, TargetRange(2)),
        ("paddle.nn.CrossEntropyLoss", {"ignore_index": 9}, [-1, 8, 8, 4], MASK, TargetRange(3, 9)),
        ("paddle.nn.functional.cross_entropy", {}, [-1, 5], LABELS, TargetRange(4)),
        ("paddle.nn.functional.cross_entropy", {}, [-1, 8, 8, 5], MASK, None),
        ("mse", {}, [-1, 5], ([-1, 5], "float32"), None),
    ],
)
def test_valid_targets(name, args, predictions, targets, expected):
    with paddle.static.program_guard(paddle.static.Program()):
        given = [paddle.static.data("predictions", predictions, "float32"), paddle.static.data("targets", *targets)]
        assert build_loss(named(name, **args)).accepts(*given) == expected


def test_a_loss_of_ppema_takes_no_mapping():
    with pytest.raises(ConfigError, match="^dice takes one output and one target: give each its part of `losses`, or name a "):
        build_loss(named("dice"))({}, {})


def test_invalid_targets_and_what_two_losses_accept():
    assert TargetRange(2, 255).invalid(np.array([0, 2, 3, -1, 255])).tolist() == [False, False, True, True, False]
    assert TargetRange(1, classes=False).invalid(np.array([0.0, 0.5, 1.5, np.nan])).tolist() == [False, False, True, True]
    assert TargetRange(2, 255).both(TargetRange(1, 255, classes=False)) == TargetRange(1, 255, classes=False)
    assert TargetRange(2, 255).both(TargetRange(4)) == TargetRange(2)
    assert str(TargetRange(4, 255)) == "the model has 5 outputs, for labels 0 to 4, and 255 is ignored"
    assert str(TargetRange(1, classes=False)) == "the loss expects 0 to 1"
