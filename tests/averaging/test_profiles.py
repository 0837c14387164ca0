"""Profiles against the averages that schedules track, and `solve` against the paper's closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppema.averaging.decay import FLOATS, HalfLife, PowerFunction
from ppema.averaging.power import gamma_of
from ppema.averaging.profiles import ExponentialShape, PowerShape, Profile, cells, density, solve

NARROW, WIDE = PowerShape(gamma_of(0.05)), PowerShape(gamma_of(0.10))


def tracked(schedule, begin, end, every, values):
    """The bias-corrected average of `values` after steps 1, 2, …, in float64, by the update of the train program."""
    average, weight = 0.0, 0.0
    for step in range(begin + every, end + 1, every):
        decay = schedule(float(step - begin - every), every, FLOATS)
        weight = decay * weight + (1 - decay)
        average += (1 - decay) / weight * (values[step] - average)
    return average


def masses(profile, end):
    """The weight that the profile gives to each step 0, 1, …, end."""
    return np.diff(profile.cumulative(np.arange(-1, end + 1)))


@given(
    kind=st.sampled_from(["power", "half-life"]),
    size=st.floats(0.01, 60.0),
    begin=st.integers(0, 3).map(lambda n: 12 * n),
    every=st.sampled_from([1, 2, 3, 4]),
    length=st.integers(4, 150),
)
def test_a_profile_is_what_its_schedule_tracks(kind, size, begin, every, length):
    shape, schedule = (PowerShape(size), PowerFunction(size)) if kind == "power" else (ExponentialShape(size), HalfLife(size))
    end = begin + length
    values = np.random.default_rng(length).normal(size=end + 1)
    mass = masses(Profile(shape, begin, end, every), end)
    assert mass.sum() == pytest.approx(1, abs=1e-12)
    assert mass @ values == pytest.approx(tracked(schedule, begin, end, every, values), abs=1e-9)


def test_masses_by_hand():
    # γ = 1: F(t') = (t'/3)² grows by 1/9, 3/9, 5/9. Updates come after steps 12, 14 and 16, none after 17.
    mass = masses(Profile(PowerShape(1.0), 10, 17, 2), 18)
    assert {step: float(m) for step, m in enumerate(mass) if m} == pytest.approx({12: 1 / 9, 14: 3 / 9, 16: 5 / 9})
    # Half-life 1: the shares are 1/7, 2/7 and 4/7.
    assert masses(Profile(ExponentialShape(1.0), 0, 3), 3).tolist() == pytest.approx([0, 1 / 7, 2 / 7, 4 / 7])


def test_half_lives_that_overflow_no_float():
    mass = masses(Profile(ExponentialShape(0.5), 0, 100_000), 100_000)
    assert mass.sum() == pytest.approx(1)
    assert mass[-1] == pytest.approx(0.75)
    assert masses(Profile(ExponentialShape(1e12), 0, 4), 4).tolist() == pytest.approx([0, 0.25, 0.25, 0.25, 0.25])


def test_an_average_that_has_not_begun():
    with pytest.raises(ValueError, match="begins after step 8: after step 9 it has seen no weights"):
        Profile(NARROW, 8, 9, 4)


def inner(a: Profile, b: Profile) -> float:
    """⟨a, b⟩ of the continuous profiles, by algorithm 3 of Karras et al. 2024."""
    assert isinstance(a.shape, PowerShape) and isinstance(b.shape, PowerShape)
    ga, gb, ta, tb = a.shape.gamma, b.shape.gamma, a.time, b.time
    exponent = gb if ta < tb else -ga
    return (ga + 1) * (gb + 1) * (ta / tb) ** exponent / ((ga + gb + 1) * max(ta, tb))


def long_run(count):
    return [Profile(shape, 0, 1_000_000 * (i + 1) // count) for i in range(count) for shape in (NARROW, WIDE)]


def test_inner_products_are_the_papers():
    profiles = long_run(8)
    edges = cells(profiles)
    columns = np.stack([density(profile, edges) for profile in profiles], axis=1)
    expected = np.array([[inner(a, b) for b in profiles] for a in profiles])
    # A cell is 244 steps, 1/512 of the first snapshot's time: within it t^γ changes by γ/512, which changes ∫ t^(2γ) by a
    # 12th of its square, 9e-5 at γ = 17.
    np.testing.assert_allclose(columns.T @ columns, expected, rtol=1e-4)


@pytest.mark.parametrize("sigma", [0.03, 0.07, 0.15, 0.20])
def test_the_solve_is_the_papers(sigma):
    profiles, wanted = long_run(8), Profile(PowerShape(gamma_of(sigma)), 0, 1_000_000)
    a = np.array([[inner(p, q) for q in profiles] for p in profiles])
    expected = np.linalg.solve(a, [inner(p, wanted) for p in profiles])
    expected /= expected.sum()
    found = solve(profiles, wanted)
    np.testing.assert_allclose(found.coefficients, expected, atol=2e-3 * np.abs(expected).max())
    error = (expected @ a @ expected - 2 * expected @ [inner(p, wanted) for p in profiles]) / inner(wanted, wanted) + 1
    assert found.error == pytest.approx(error**0.5, rel=1e-2)


@given(sigma=st.floats(0.02, 0.28), count=st.integers(1, 12), every=st.sampled_from([1, 5]), begin=st.sampled_from([0, 40]))
def test_coefficients_sum_to_one_and_their_error_is_what_it_says(sigma, count, every, begin):
    profiles = [Profile(s, begin, begin + 600 * (i + 1) // count, every) for i in range(count) for s in (NARROW, WIDE)]
    wanted = Profile(PowerShape(gamma_of(sigma)), begin, begin + 600, every)
    found = solve(profiles, wanted)
    assert found.coefficients.sum() == pytest.approx(1, abs=1e-12)
    # One observation per update: the same problem solved by brute force over all steps.
    mixed = sum(x * masses(p, begin + 600) for x, p in zip(found.coefficients, profiles, strict=True))
    target = masses(wanted, begin + 600)
    assert found.error == pytest.approx(np.linalg.norm(mixed - target) / np.linalg.norm(target), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("which", [0, 3, 7])
@pytest.mark.parametrize("end", [800, 400_000])
def test_a_snapshot_gives_itself(which, end):
    profiles = [Profile(shape, 0, end * (i + 1) // 4) for i in range(4) for shape in (NARROW, WIDE)]
    found = solve(profiles, profiles[which])
    np.testing.assert_allclose(found.coefficients, np.eye(8)[which], atol=1e-11)
    assert found.error < 1e-12


def test_a_snapshot_of_every_step_gives_every_average():
    profiles = [Profile(NARROW, 0, step) for step in range(1, 41)]
    values = np.random.default_rng(0).normal(size=41)
    snapshots = [tracked(PowerFunction(NARROW.gamma), 0, step, 1, values) for step in range(1, 41)]
    for shape, schedule in ((PowerShape(0.5), PowerFunction(0.5)), (ExponentialShape(6.5), HalfLife(6.5))):
        found = solve(profiles, Profile(shape, 0, 40))
        assert found.coefficients @ snapshots == pytest.approx(tracked(schedule, 0, 40, 1, values), abs=1e-9)


def test_more_snapshots_of_two_averages_come_nearer():
    wanted = Profile(PowerShape(gamma_of(0.15)), 0, 1_000_000)
    errors = [solve(long_run(count), wanted).error for count in (2, 4, 8, 16, 32)]
    assert all(later < earlier / 2 for earlier, later in pairwise(errors[1:]))
    assert errors[-1] < 0.003


def test_averages_of_different_begins_share_their_cells():
    profiles = [Profile(NARROW, 0, 300, 6), Profile(WIDE, 36, 300, 6), Profile(WIDE, 36, 200, 6)]
    edges = cells(profiles)
    assert {0, 36, 300, 198} <= set(edges.tolist())
    assert set(np.diff(edges).tolist()) == {6}
    assert edges.tolist() == sorted(set(edges.tolist()))


@pytest.mark.parametrize("every", [(4, 5), (97, 101)])
def test_averages_of_different_intervals_do_not_pass_for_the_wanted_one(every):
    """Two snapshots cannot combine into a third profile, however few observations they share."""
    end = 100 * every[0]
    profiles = [Profile(shape, 0, end, k) for shape, k in zip((NARROW, WIDE), every, strict=True)]
    found = solve(profiles, Profile(PowerShape(gamma_of(0.02)), 0, end, every[0]))
    alone = solve([Profile(shape, 0, end) for shape in (NARROW, WIDE)], Profile(PowerShape(gamma_of(0.02)), 0, end))
    assert found.error == pytest.approx(alone.error, rel=0.1)
    assert found.error > 0.3


def test_long_runs_have_few_cells():
    assert len(cells(long_run(32))) <= 4097
    assert len(cells([Profile(NARROW, 0, 3000)])) == 3001


def test_a_profile_that_has_nothing_in_common_with_the_snapshots():
    """All of its weight is after the last snapshot."""
    found = solve([Profile(shape, 0, 40) for shape in (NARROW, WIDE)], Profile(ExponentialShape(1e-3), 0, 45))
    assert found.error == math.inf
    assert np.isfinite(found.coefficients).all() and found.coefficients.sum() == pytest.approx(1)
