"""The targets that a loss accepts."""

from __future__ import annotations

import paddle
import pytest
from support.exact import named

from ppema.losses import TargetRange, build_loss

LABELS, MASK = ([-1], "int64"), ([-1, 8, 8], "int64")


@pytest.mark.parametrize(
    ("name", "args", "predictions", "targets", "expected"),
    [
        ("cross_entropy", {}, [-1, 5], LABELS, TargetRange(0, 4)),
        ("cross_entropy", {"ignore_index": 255, "axis": 1}, [-1, 3, 8, 8], MASK, TargetRange(0, 2, 255)),
        ("cross_entropy", {}, [-1, 5], ([-1, 5], "float32"), None),
        ("binary_cross_entropy", {"ignore_index": -1}, [-1, 8, 8], MASK, TargetRange(0, 1, -1)),
        ("binary_cross_entropy", {}, [-1, 5], ([-1, 5], "float32"), TargetRange(0, 1)),
        ("focal", {}, [-1, 1], LABELS, TargetRange(0, 1)),
        ("focal", {}, [-1, 5], LABELS, TargetRange(0, 4)),
        ("dice", {}, [-1, 1, 8, 8], MASK, TargetRange(0, 1)),
        ("dice", {"axis": 1}, [-1, 3, 8, 8], MASK, TargetRange(0, 2)),
        ("NLLLoss", {}, [-1, 3, 8, 8], MASK, TargetRange(0, 2)),
        ("paddle.nn.CrossEntropyLoss", {"ignore_index": 9}, [-1, 8, 8, 4], MASK, TargetRange(0, 3, 9)),
        ("paddle.nn.functional.cross_entropy", {}, [-1, 5], LABELS, TargetRange(0, 4)),
        ("paddle.nn.functional.cross_entropy", {}, [-1, 8, 8, 5], MASK, None),
        ("mse", {}, [-1, 5], ([-1, 5], "float32"), None),
    ],
)
def test_valid_targets(name, args, predictions, targets, expected):
    with paddle.static.program_guard(paddle.static.Program()):
        given = [paddle.static.data("predictions", predictions, "float32"), paddle.static.data("targets", *targets)]
        assert build_loss(named(name, **args)).accepts(*given) == expected
