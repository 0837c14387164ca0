"""Decay schedules against values computed by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from ppema.averaging.decay import (
    FLOATS,
    Constant,
    Exponential,
    HalfLife,
    InverseGamma,
    PowerFunction,
    ThresSteps,
    step_size,
    weight_after,
)


def test_constant_is_constant():
    assert [Constant(0.999)(n, 1, FLOATS) for n in (0.0, 1.0, 1e6)] == [0.999] * 3


def test_thres_steps_follows_tensorflows_formula():
    schedule = ThresSteps(0.5)
    # (1 + n)/(10 + n) reaches 1/2 at n = 8.
    assert [schedule(n, 1, FLOATS) for n in (0.0, 1.0, 5.0, 8.0, 9.0)] == [1 / 10, 2 / 11, 6 / 15, 0.5, 0.5]


def test_thres_steps_counts_what_it_is_told_to():
    assert ThresSteps(0.999, lambda n: 2.0 * n)(4.0, 1, FLOATS) == 9 / 18


def at(schedule, n, k=1):
    return schedule(float(n), k, FLOATS)


def test_inverse_gamma_follows_ema_pytorch():
    # 1 - (1 + n)^(-2/3) is 3/4 at n = 7 and 8/9 at n = 26; at n = 0 the average is the weights.
    schedule = InverseGamma(0.8)
    assert [at(schedule, n) for n in (0, 7, 26)] == [0, pytest.approx(3 / 4), 0.8]
    assert [at(InverseGamma(0.9, gamma=2.0, power=1.0, minimum=0.4), n) for n in (0, 1, 2)] == [0, 0.4, pytest.approx(1 / 2)]


def test_a_half_life_halves():
    assert at(HalfLife(10), 5) ** 10 == pytest.approx(1 / 2)


def test_a_ramped_half_life_is_that_of_edm2():
    """EDM2's loop adds the batch to the count first; the decay is then 0.5 ** (batch / min(half-life, 0.09 · count)).

    Counted in steps, the half-life is 0.09 after step 1, 9 after step 100, and the given 500 after step 10,000.
    """
    schedule = HalfLife(500, ramp=0.09)
    assert at(schedule, 0) == pytest.approx(0.5 ** (1 / 0.09), rel=1e-12)
    assert at(schedule, 99) == pytest.approx(0.5 ** (1 / 9), rel=1e-12)
    assert at(schedule, 9_999) == pytest.approx(0.5 ** (1 / 500), rel=1e-12)


def test_the_first_averages_of_edm2():
    """Three steps of EDM2's loop with ramp 1/2 from the initial weight 8 to the weights 4, 2, 0.

    The half-lives are 1/2, 1 and 3/2, the decays 1/4, 1/2 and 2^(-2/3), the averages 5, 3.5 and 3.5 · 2^(-2/3).
    """
    schedule, average, found = HalfLife(100, ramp=0.5), 8.0, []
    for step, weight in enumerate((4.0, 2.0, 0.0)):
        average += (1 - at(schedule, step)) * (weight - average)
        found.append(average)
    assert found == pytest.approx([5.0, 3.5, 3.5 * 2 ** (-2 / 3)], rel=1e-12)


def test_exponential_follows_paddledetection():
    assert at(Exponential(0.9998), 0) == pytest.approx(0.9998 * (1 - math.exp(-1 / 2000)))
    assert at(Exponential(0.9998, tau=10), 9) == pytest.approx(0.9998 * (1 - math.exp(-1)))


def test_the_simple_average_and_the_power_function():
    assert [at(PowerFunction(), n) for n in (0, 1, 3)] == [0, 1 / 2, 3 / 4]
    # γ = 2: the weight of the observation at time t is proportional to t^3 - (t-1)^3.
    assert [at(PowerFunction(2.0), n) for n in (0, 1, 2)] == [0, pytest.approx(1 / 8), pytest.approx(8 / 27)]


def test_the_interval_is_not_forgotten():
    """σ_rel = 0.10 of Karras et al. (γ = 6.94) at intervals of 100 steps: the initial value has no weight."""
    schedule, left = PowerFunction(6.94), 1.0
    for n in range(0, 100_000, 100):
        left *= at(schedule, n, 100)
    assert left == 0


PER_STEP = [Constant(0.9), HalfLife(20), HalfLife(20, 0.5), ThresSteps(0.9), InverseGamma(0.9), Exponential(0.9)]


@pytest.mark.parametrize("schedule", PER_STEP)
def test_an_update_over_k_steps_takes_the_kth_power(schedule):
    assert at(schedule, 30, 4) == pytest.approx(at(schedule, 30) ** 4)


def test_batch_scaling_is_a_power_too():
    """Busbridge et al. 2023: a batch twice as large squares the decay."""
    assert at(Constant(0.99), 7, 2.0) == pytest.approx(0.9801)


@pytest.mark.parametrize(
    "make",
    [
        lambda: InverseGamma(0.9, gamma=0.0),
        lambda: InverseGamma(0.9, power=-1.0),
        lambda: InverseGamma(0.9, minimum=0.95),
        lambda: HalfLife(0),
        lambda: HalfLife(3, ramp=0.0),
        lambda: Exponential(0.9, tau=math.inf),
        lambda: PowerFunction(-0.5),
    ],
)
def test_settings_outside_their_range_are_refused(make):
    with pytest.raises(ValueError, match="expected a number"):
        make()


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


@pytest.mark.parametrize(("schedule", "k"), [(HalfLife(1e17), 1), (Constant(0.9999), 1e-14)])
def test_an_average_that_float64_would_never_let_move_is_refused(schedule, k):
    with pytest.raises(ValueError, match="the decay is 1 in float64, an average that never moves: choose a shorter one"):
        schedule(0.0, k, FLOATS)
