"""How long a metric has not improved."""

from __future__ import annotations

import math

import pytest

from ppema.checkpoint.waiting import Waiting


def waits(values, mode=None, min_change=0.0, metric="accuracy"):
    """For evaluations after steps 10, 20, ...: the best value, its step, and the evaluations without improvement."""
    waiting, found = Waiting(f"ema/{metric}", None, 0, 0, 0), []
    for index, value in enumerate(values, 1):
        waiting = waiting.after(value, 10 * index, mode=mode, min_change=min_change)
        found.append((waiting.value, waiting.step, waiting.evaluations))
        assert waiting.seen == 10 * index
    return found


def test_an_equal_value_is_no_improvement():
    assert waits([0.5, 0.5, 0.4, 0.6]) == [(0.5, 10, 0), (0.5, 10, 1), (0.5, 10, 2), (0.6, 40, 0)]


def test_small_gains_count_once_their_sum_is_large_enough():
    """0.25 + 0.25 is more than 0.375; 0.25 alone is not, and neither is exactly 0.375."""
    assert waits([1.0, 1.25, 1.5, 1.875], min_change=0.375) == [(1.0, 10, 0), (1.0, 10, 1), (1.5, 30, 0), (1.5, 30, 1)]


@pytest.mark.parametrize(("metric", "mode"), [("loss", None), ("mine", "min")])
def test_a_loss_improves_downwards(metric, mode):
    assert waits([2.0, 1.0, 3.0], mode, metric=metric) == [(2.0, 10, 0), (1.0, 20, 0), (1.0, 20, 1)]


def test_what_is_not_finite_never_improves():
    found = waits([math.nan, math.inf, 0.5, -math.inf, math.nan], "max")
    assert found == [(None, 0, 1), (None, 0, 2), (0.5, 30, 0), (0.5, 30, 1), (0.5, 30, 2)]


def test_counting_anew_keeps_the_best():
    waiting = Waiting("ema/accuracy", 0.5, 10, 10, 40, 3).anew()
    assert waiting == Waiting("ema/accuracy", 0.5, 10, 40, 40, 0)
