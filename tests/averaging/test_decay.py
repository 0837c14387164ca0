"""Decay schedules, against values worked out by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from ppema.averaging.decay import FLOATS, Constant, ThresSteps, step_size, weight_after


def test_constant_is_constant():
    assert [Constant(0.999)(n, FLOATS) for n in (0.0, 1.0, 1e6)] == [0.999] * 3


def test_thres_steps_follows_tensorflows_formula():
    schedule = ThresSteps(0.5)
    # (1 + n)/(10 + n) reaches 1/2 at n = 8.
    assert [schedule(n, FLOATS) for n in (0.0, 1.0, 5.0, 8.0, 9.0)] == [1 / 10, 2 / 11, 6 / 15, 0.5, 0.5]


def test_thres_steps_counts_what_it_is_told_to():
    assert ThresSteps(0.999, lambda n: 2.0 * n)(4.0, FLOATS) == 9 / 18


@pytest.mark.parametrize("decay", [-0.1, 1, 1.0, 1.5, math.nan, math.inf, "0.9", None, True])
def test_a_decay_outside_its_range_is_refused(decay):
    for schedule in (Constant, ThresSteps):
        with pytest.raises(ValueError, match=r"decay: expected a number in \[0, 1\), got"):
            schedule(decay)


def test_the_online_update_is_the_weighted_mean():
    """s += α(θ - s) against Σ w_i θ_i / Σ w_i, w_i = (1 - d_i) Π_{j>i} d_j, in exact fractions."""
    decays = [Fraction(1, 10), Fraction(9, 10), Fraction(1, 3), Fraction(0), Fraction(99, 100)]
    values = [Fraction(v) for v in (3, -1, 7, 2, 5)]
    weight, shadow = Fraction(0), Fraction(1000)
    for t, (decay, value) in enumerate(zip(decays, values, strict=True), start=1):
        weight = weight_after(weight, decay)
        shadow += step_size(weight, decay) * (value - shadow)
        weights = [(1 - decays[i]) * math.prod(decays[i + 1 : t]) for i in range(t)]
        assert weight == sum(weights) == 1 - math.prod(decays[:t])
        assert shadow == sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights)
