"""The bootstrap over samples: against binomial intervals, scipy, McNemar's test, and its coverage on synthetic data."""

from __future__ import annotations

import numpy as np
import pytest

from ppema.evaluation.samples.bootstrap import drawn, interval, over_seeds, paired

stats = pytest.importorskip("scipy.stats", reason="scipy is not installed: requirements-dev.txt")


def replicates(values: np.ndarray, resamples: int = 4000, seed: int = 0) -> np.ndarray:
    """The mean of `values` on each resample."""
    return np.concatenate([times @ values for times in drawn(len(values), resamples, seed)]) / len(values)


def test_resamples_are_a_pure_function_of_seed_and_number():
    """Neither chunks nor a larger number of resamples change one."""
    whole = np.concatenate(list(drawn(37, 20, seed=3)))
    assert whole.shape == (20, 37) and (whole.sum(axis=1) == 37).all()
    chunks = list(drawn(37, 20, seed=3, width=2**22 // (37 * 3)))
    assert [len(each) for each in chunks] == [3, 3, 3, 3, 3, 3, 2]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)
    np.testing.assert_array_equal(next(drawn(37, 5, seed=3)), whole[:5])
    assert (next(drawn(37, 5, seed=4)) != whole[:5]).any()


@pytest.mark.parametrize(("samples", "right"), [(355, 314), (50, 49)])
def test_the_interval_of_an_accuracy_is_binomial(samples, right):
    """Its resamples draw from a binomial distribution, whose quantiles are known; here to one sample."""
    found = interval(right / samples, replicates(np.repeat([1.0, 0.0], [right, samples - right]), 10_000))
    low, high = stats.binom.ppf([0.025, 0.975], samples, right / samples)
    assert [found.low * samples, found.high * samples] == pytest.approx([low, high], abs=1)


def test_interval_and_difference_are_those_of_scipy():
    """Up to the noise of 4,000 resamples of each, some 3 % of a width."""
    rng = np.random.default_rng(0)
    a = rng.exponential(size=200)
    b = a + rng.normal(0.1, 0.5, 200)
    for found, data in ((interval(0.0, replicates(a)), a), (paired(b.mean() - a.mean(), replicates(b) - replicates(a)), b - a)):
        expected = stats.bootstrap(
            (data,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
        ).confidence_interval
        assert [found.low, found.high] == pytest.approx(list(expected), abs=0.06 * (expected.high - expected.low))


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    """Of skewed losses with mean 1, and of differences of two models on the same 100 samples. A run of the test is exact."""
    rng, held = np.random.default_rng(0), np.zeros(2)
    draws = next(drawn(100, 400))
    for _ in range(400):
        a = rng.exponential(size=100)
        b = a + rng.normal(0.1, 0.3, 100)
        one, both = interval(1.0, draws @ a / 100), paired(0.1, draws @ (b - a) / 100)
        held += [one.low <= 1 <= one.high, both.low <= 0.1 <= both.high]
    assert (np.abs(held / 400 - 0.95) < 0.03).all(), held


@pytest.mark.parametrize("only", [(4, 30), (14, 16), (12, 22), (9, 28)])
def test_a_difference_of_accuracies_agrees_with_mcnemar(only):
    """Of the samples that only one of two models gets right. The exact p is conservative, and its mid-p version is not."""
    first, second = only
    difference = np.concatenate([-np.ones(first), np.ones(second), np.zeros(300)])
    found = paired(difference.mean(), replicates(difference, 10_000))
    exact = stats.binomtest(first, first + second).pvalue
    middle = exact - stats.binom.pmf(first, first + second, 0.5)
    assert 2 * found.wrong == pytest.approx(middle, abs=0.25 * middle + 0.002)
    assert (found.low > 0) == (exact < 0.05)


def test_runs_of_several_seeds_add_their_variance():
    """Resamples of both: the variance is that of samples, plus that of the mean of S seeds that are drawn from S."""
    seeds = np.array([0.0, 0.3, 0.6, 1.1])
    noise = np.random.default_rng(0).normal(0, 0.2, 20_000)
    found = over_seeds(seeds[:, None] + noise)
    assert found.mean() == pytest.approx(seeds.mean(), abs=0.01)
    assert found.var() == pytest.approx(0.04 + seeds.var() / 4, rel=0.03)
