"""Windows, distances, stalls and layer groups against values computed by hand and float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppema.averaging.decay import FLOATS, Constant, HalfLife, PowerFunction, weight_after
from ppema.averaging.health import Tally, layer_groups, tally, window


def windows(schedule, steps, every=1):
    """The number of steps and the effective window after each update up to step `steps`."""
    weight, found = 0.0, []
    for n in range(0, steps, every):
        decay = schedule(float(n), every, FLOATS)
        weight = weight_after(weight, decay)
        found.append((n + every, window(every, weight, decay)))
    return found


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("schedule", [Constant(0.9), HalfLife(20, 0.5), PowerFunction(), PowerFunction(6.94)])
def test_the_newest_observation_has_its_share_of_the_window(schedule, every):
    """The share by its definition: w_t/Σ w_i with w_i = (1 - d_i) Π_{j>i} d_j."""
    decays = [schedule(float(n), every, FLOATS) for n in range(0, 60, every)]
    for count, (_, found) in enumerate(windows(schedule, 60, every), start=1):
        all_weights = [(1 - decays[i]) * math.prod(decays[i + 1 : count]) for i in range(count)]
        assert found == pytest.approx(every * sum(all_weights) / all_weights[-1], rel=1e-12)


def test_a_constant_decays_window_is_the_run_at_first_and_its_own_later():
    found = [each for _, each in windows(Constant(0.99), 2000)]
    # (1 - d^t)/(1 - d): 1, 1.99, 2.9701, …
    assert found[:3] == pytest.approx([1, 1.99, 2.9701], rel=1e-12)
    assert found[-1] == pytest.approx(100, rel=1e-8)
    assert window(1, 1.0, 0.99) == pytest.approx(100)


def test_a_simple_averages_window_is_the_run():
    for every in (1, 5):
        assert all(found == pytest.approx(steps, rel=1e-12) for steps, found in windows(PowerFunction(), 100, every))


def test_a_power_functions_window_is_a_fixed_share_of_the_run():
    """The window is 1/(1 - (1 - 1/t)^(γ+1)) = t/(γ+1) + γ/(2(γ+1)) + O(1/t)."""
    gamma = 6.94
    (*_, (steps, found)) = windows(PowerFunction(gamma), 2000)
    assert found == pytest.approx(1 / (1 - (1 - 1 / steps) ** (gamma + 1)), rel=1e-9)
    assert found == pytest.approx(steps / (gamma + 1) + gamma / (2 * (gamma + 1)), abs=1e-3)


def test_an_interval_leaves_the_window_nearly_what_it_is():
    """The window is k/(1 - d^k): the newest k steps count as one observation. It is between 1/(1 - d) and 1/(1 - d) + k."""
    assert window(1, 1.0, 0.999) == pytest.approx(1000)
    assert window(10, 1.0, 0.999**10) == pytest.approx(1004.508, abs=1e-3)


def test_a_decay_of_one_has_no_end():
    assert window(1, 0.0, 1.0) == math.inf


@pytest.mark.parametrize("shape", [(), (3,), (5, 4, 3), (8192,), (8193,), (150, 200)])
def test_distances_are_those_of_float64(shape):
    rng = np.random.default_rng(0)
    theta = (3 + rng.normal(size=shape)).astype("float32")
    shadow = (theta + 1e-3 * rng.normal(size=shape)).astype("float32")
    wide_theta, wide_shadow = theta.astype("float64"), shadow.astype("float64")
    expected = np.linalg.norm(wide_theta - wide_shadow) / np.linalg.norm(wide_theta)
    found = tally(theta, shadow, 0.1)
    assert found.distance == pytest.approx(expected, rel=1e-7)
    assert found.differing == np.count_nonzero(theta != shadow)
    halves = tally(theta.reshape(-1)[:2], shadow.reshape(-1)[:2], 0.1) + tally(
        theta.reshape(-1)[2:], shadow.reshape(-1)[2:], 0.1
    )
    assert halves.distance == pytest.approx(expected, rel=1e-7)


def test_what_float32_keeps_where_it_is():
    """Numbers from 1 to 2 are 2^-23 apart. Half of that is a tie, which rounds to the even number."""
    theta = np.array([2.0, 2.0, 1.0, 1e-3, 3.0], "float32")
    shadow = np.array([1.0, 1.0 + 2**-23, 1.0, 0.0, 1.5], "float32")
    # At α = 2^-24 the increments are: a tie at 1.0, nearly a tie above an odd number, zero, one from 0, more than half a unit.
    assert tally(theta, shadow, 2.0**-24) == Tally(
        difference=pytest.approx(1 + (1 - 2**-23) ** 2 + 1e-6 + 2.25), norm=pytest.approx(18 + 1e-6), differing=4, kept=2
    )
    assert tally(theta, shadow, 2.0**-24).stalled == 0.5
    assert tally(theta, shadow, 2.0**-22).stalled == 0.0
    assert tally(theta, shadow, 1e-30).stalled == 0.75
    assert tally(theta, shadow, None).stalled == 0.0


def test_no_division_by_zero():
    zero, one = np.zeros(3, "float32"), np.ones(3, "float32")
    assert tally(zero, one, 0.1).distance is None
    assert tally(zero, zero, 0.1).stalled == 0.0
    assert Tally().distance is None


def test_weights_that_are_not_finite_give_no_warning():
    """pytest turns warnings into errors, so a warning fails this test."""
    theta, shadow = np.array([np.nan, np.inf, 3e38], "float32"), np.array([1.0, np.inf, -3e38], "float32")
    with np.errstate(all="raise"):
        assert math.isnan(tally(theta, shadow, 0.1).distance)


@pytest.mark.parametrize(
    ("places", "groups"),
    [
        (["0.weight", "0.bias", "2.weight"], ["0", "0", "2"]),
        (["net.conv.weight", "net.conv.bias", "net.head.weight"], ["net.conv", "net.conv", "net.head"]),
        (["net.a.0.weight", "net.a.0.bias", "net.a.1.bias"], ["net.a.0", "net.a.0", "net.a.1"]),
        (["linear.weight", "linear.bias"], ["linear.weight", "linear.bias"]),
        (["net.scale", "net.scale.inner.weight"], ["net.scale", "net.scale.inner"]),
        (["scale", "body.0.weight", "body.1.weight"], ["scale", "body", "body"]),
        (["a.b.c"], ["a.b.c"]),
        ([], []),
    ],
)
def test_layer_groups_are_as_coarse_as_they_can_be(places, groups):
    assert list(layer_groups(places).values()) == groups


def test_half_weights_are_compared_by_their_values():
    """1.5 and -2 in bfloat16 against 1 and -2: the distance is √0.25/√6.25."""
    found = tally(np.array([1.5, -2], "bfloat16"), np.array([1, -2], "float32"), 0.5)
    assert (found.difference, found.norm, found.differing, found.kept) == (0.25, 6.25, 1, 0)
