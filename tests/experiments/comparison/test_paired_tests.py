"""Paired tests, against scipy, values derived by hand, and what can not be tested."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ppema.experiments.comparison.paired_tests import MOST_EXACT, PairedTest, holm, paired_test

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("n", [2, 3, 5, 11])
def test_interval_and_p_are_those_of_scipy(n):
    first, second = RANDOM.normal(size=n), RANDOM.normal(0.3, size=n)
    found, theirs = paired_test(first, second), stats.ttest_rel(second, first)
    interval = theirs.confidence_interval(0.95)
    assert (found.n, found.difference) == (n, pytest.approx(np.mean(second - first), rel=1e-12))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)


def test_a_t_test_by_hand():
    """Differences 1, 2, 3: t = 2·√3 with 2 degrees of freedom, where the distribution is 1/2 + t/(2·√(2 + t²))."""
    found = paired_test([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])
    t = 2 * math.sqrt(3)
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-12)
    # The quantile q of 0.975 solves q/√(2 + q²) = 0.95.
    half = 0.95 * math.sqrt(2 / (1 - 0.95**2)) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-9)
    # Of the 8 patterns of signs, +++ and --- have a mean of 2 or more.
    assert found.exact == 2 / 8


@pytest.mark.parametrize("n", [2, 4, 7])
def test_sign_flips_are_counted(n):
    differences = RANDOM.normal(0.5, size=n)
    flipped = [np.mean(np.multiply(signs, differences)) for signs in itertools.product((1, -1), repeat=n)]
    expected = np.mean([abs(mean) >= abs(differences.mean()) - 1e-12 for mean in flipped])
    assert paired_test(np.zeros(n), differences).exact == expected


def test_the_least_exact_p_is_the_share_of_two_patterns():
    assert paired_test([0.0] * 5, [0.1, 0.2, 0.3, 0.4, 0.5]).exact == 2 / 32
    many = paired_test(np.zeros(MOST_EXACT + 1), RANDOM.normal(size=MOST_EXACT + 1))
    assert many.exact is None and many.p is not None


def test_equal_differences_have_no_t_test():
    """0.3 - 0.1 and 0.9 - 0.7 differ in float64. As a spread, that would be a p of 1e-16."""
    found = paired_test([0.1, 0.7], [0.3, 0.9])
    assert found == PairedTest(2, pytest.approx(0.2), exact=0.5)
    assert paired_test([0.5, 0.6], [0.5, 0.6]) == PairedTest(2, 0.0, exact=1.0)


def test_what_can_not_be_tested_is_undefined():
    assert paired_test([0.5], [0.75]) == PairedTest(1, 0.25)
    assert math.isnan(paired_test([], []).difference)
    broken = paired_test([0.5, 0.5], [0.6, math.nan])
    assert math.isnan(broken.difference) and (broken.p, broken.low, broken.exact) == (None, None, None)


def test_holms_method_by_hand():
    """0.01 · 4, 0.02 · 3, then 0.03 · 2 = 0.06 and max(0.04 · 1, 0.06)."""
    assert holm([0.04, 0.01, None, 0.03, 0.02]) == pytest.approx([0.06, 0.04, None, 0.06, 0.06])
    assert holm([0.7, 0.6]) == [1.0, 1.0]
    assert holm([None]) == [None]
