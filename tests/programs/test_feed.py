"""The check of targets before a batch is fed."""

from __future__ import annotations

import numpy as np
import pytest

from ppema.errors import DataError
from ppema.losses import TargetRange
from ppema.programs.feed import Inputs


def check(valid, targets):
    Inputs(("x", "y"), {"y": valid}).check({"x": np.zeros((2, 3)), "y": np.array(targets)}, np.array([7, 4]), "data.train")


@pytest.mark.parametrize(
    ("valid", "targets", "line"),
    [
        (
            TargetRange(2, 255),
            [[0, 255], [2, 3]],
            "data.train: sample 4: label 3 is out of range: the model has 3 outputs, for labels 0 to 2, and 255 is ignored",
        ),
        (
            TargetRange(2),
            [[0, 255], [2, 3]],
            "data.train: sample 7: label 255 is out of range: the model has 3 outputs, for labels 0 to 2",
        ),
        (
            TargetRange(1, classes=False),
            [0.5, 1.5],
            "data.train: sample 4: target 1.5 is out of range: the loss expects 0 to 1",
        ),
        (
            TargetRange(1, classes=False),
            [0.5, np.nan],
            "data.train: sample 4: target nan is out of range: the loss expects 0 to 1",
        ),
    ],
)
def test_a_target_that_the_loss_does_not_accept(valid, targets, line):
    with pytest.raises(DataError) as caught:
        check(valid, targets)
    assert str(caught.value) == line


def test_ignored_labels_pass():
    check(TargetRange(2, 255), [[0, 255], [2, 255]])
    check(TargetRange(2, -100), [-100, 1])
