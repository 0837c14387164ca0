"""The bootstrap over samples: against binomial intervals, scipy, McNemar's test, and its coverage on synthetic data."""

from __future__ import annotations

import numpy as np
import pytest

from ppema.evaluation.samples.bootstrap import SampleInterval, drawn, interval, over_both
from ppema.evaluation.samples.right_or_wrong import Discordant, bounds, discordant

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
    for found, data in (
        (interval(0.0, replicates(a)), a),
        (interval(b.mean() - a.mean(), replicates(b) - replicates(a)), b - a),
    ):
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
        one, both = interval(1.0, draws @ a / 100), interval(0.1, draws @ (b - a) / 100)
        held += [one.low <= 1 <= one.high, both.low <= 0.1 <= both.high]
    assert (np.abs(held / 400 - 0.95) < 0.03).all(), held


@pytest.mark.parametrize("only", [(0, 0), (0, 3), (5, 0), (12, 22), (9, 28)])
def test_right_and_wrong_answers_have_mcnemars_exact_p(only):
    """Three discordant samples can never show a difference: p is 2/2³, however few resamples have none of them."""
    lost, gained = only
    first, second = (np.repeat(each, [lost, gained, 300]) for each in ([0, 1, 1], [1, 0, 1]))
    p = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert discordant(first, second) == Discordant(gained, lost, pytest.approx(p))


def test_the_bounds_of_all_right_are_those_of_clopper_and_pearson():
    for count in (0, 355):
        expected = stats.binomtest(count, 355).proportion_ci(method="exact")
        assert bounds(355, count == 355, 0.95) == pytest.approx(list(expected))
    assert bounds(355, True, 0.95)[0] == pytest.approx(0.990, abs=5e-4)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0, 10.0])
def test_intervals_over_samples_and_seeds_hold_the_truth(seeds, spread):
    """Of 95 %, at least 93.5, whether seeds or samples dominate. spread: of seeds, in standard errors of the samples.

    Runs share what is hard in a sample, and have noise of their own in it. A run of the test is exact.
    """
    rng, held, times = np.random.default_rng(0), 0, 1000
    draws = next(drawn(100, 300)) / 100
    for _ in range(times):
        values = rng.normal(0, 1, 100) + rng.normal(0, 0.5, (seeds, 100)) + rng.normal(0, spread / 10, (seeds, 1))
        runs = values.mean(axis=1)
        over_samples = interval(runs.mean(), draws @ values.mean(axis=0))
        assert over_samples is not None
        both = over_both(over_samples, runs.tolist())
        held += both.low <= 0 <= both.high
    assert held / times >= 0.935


def test_seeds_that_agree_add_nothing_and_seeds_alone_have_students_interval():
    one = SampleInterval(0.5, 0.4, 0.7)
    assert over_both(one, [0.5, 0.5]) == SampleInterval(0.5, pytest.approx(0.4), pytest.approx(0.7))
    runs = [0.1, 0.4, 0.6, 0.9]
    low, high = stats.t.interval(0.95, 3, np.mean(runs), stats.sem(runs))
    assert over_both(SampleInterval(0.5, 0.5, 0.5), runs) == SampleInterval(0.5, pytest.approx(low), pytest.approx(high))
