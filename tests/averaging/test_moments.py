"""Moments of many batches against the mean and variance of all values."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ppema.averaging.moments import Moments


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 7), st.floats(-1e6, 1e6))
def test_equal_batches_taken_together(seed, batches, size, offset):
    values = np.random.default_rng(seed).normal(offset, 1.0, (batches, size, 3))
    moments = Moments()
    for batch in values:
        moments.add(batch.mean(axis=0), batch.var(axis=0))
    whole = values.reshape(-1, 3)
    np.testing.assert_allclose(moments.mean, whole.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.variance, whole.var(axis=0), rtol=1e-9, atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 50), min_size=1, max_size=9), st.floats(-1e6, 1e6))
def test_batches_of_different_sizes_taken_together(seed, sizes, offset):
    rng = np.random.default_rng(seed)
    batches = [rng.normal(offset, 1.0, (size, 3)) + rng.normal() for size in sizes]
    moments = Moments()
    for batch in batches:
        moments.add(batch.mean(axis=0), batch.var(axis=0), len(batch))
    whole = np.concatenate(batches)
    np.testing.assert_allclose(moments.mean, whole.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.variance, whole.var(axis=0), rtol=1e-9, atol=1e-9)


def test_by_hand():
    """Means 1 and 3 and variances 2 and 4 give mean 2 and variance 3 + 1."""
    moments = Moments()
    for mean, variance in ((1.0, 2.0), (3.0, 4.0)):
        moments.add(np.float32([mean]), np.float32([variance]))
    assert moments.batches == 2
    assert moments.mean.dtype == np.float64 and moments.mean == [2.0] and moments.variance == [4.0]
