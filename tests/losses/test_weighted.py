"""The mean of weighted values, of a batch and of its parts, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
from support.graph import computed

from ppema.losses import Weighted, mean, per_sample
from ppema.metrics import mean_result

VALUES = np.array([[1, 2], [3, np.inf], [5, 6]], "float32")
WEIGHTS = np.array([[1, 0.5], [2, 0], [0, 0]], "float32")


def test_the_mean_of_weighted_values_and_its_gradient():
    """(1·1 + 2·0.5 + 3·2) / 3.5; the infinite value has no weight. A gradient is weight / Σ weights."""
    found, gradient = computed(lambda v, w: mean(Weighted(v, w)), VALUES, WEIGHTS, by=0)
    assert found.shape == () and found == pytest.approx(8 / 3.5, rel=1e-6)
    np.testing.assert_allclose(gradient, WEIGHTS / 3.5, rtol=1e-6)


def test_a_batch_in_which_nothing_counts_has_mean_0_and_gradient_0():
    found, gradient = computed(lambda v, w: mean(Weighted(v, w)), VALUES, 0 * WEIGHTS, by=0)
    assert found == 0 and not gradient.any()


@pytest.mark.parametrize("bad", [np.nan, -1, -0.5, np.inf])
def test_a_weight_that_is_negative_or_not_finite_makes_every_mean_nan(bad):
    """Weights of one sample that cancel to 0 would otherwise drop its value: 0.5 - 0.5."""
    weights = np.array([[bad, 0.5], [2, 0], [0, 0]], "float32")
    found, gradient = computed(lambda v, w: mean(Weighted(v, w)), VALUES, weights, by=0)
    assert np.isnan(found) and not np.isfinite(gradient).all()
    values, sums = computed(lambda v, w: per_sample(Weighted(v, w)), VALUES, weights)
    assert np.isnan(values[0]) and not np.isfinite(sums[0])
    assert np.isnan(mean_result({"values": values, "weights": sums}))
    assert np.isnan(mean_result({"values": VALUES[:, 0], "weights": weights[:, 0]}))


def test_the_weighted_values_of_samples_have_the_same_mean():
    values, weights = computed(lambda v, w: per_sample(Weighted(v, w)), VALUES, WEIGHTS)
    np.testing.assert_allclose(values, [2 / 1.5, 3, 0], rtol=1e-6)
    assert weights.tolist() == [1.5, 2, 0]
    assert (values * weights).sum() / weights.sum() == pytest.approx(8 / 3.5, rel=1e-6)


def test_micro_batches_that_count_by_their_weights_give_the_gradient_of_the_batch():
    """A batch of one sample each: gradients times Σ weights, over the sum of these."""
    values = np.nan_to_num(VALUES, posinf=4)
    whole = computed(lambda v, w: mean(Weighted(v * v, w)), values, WEIGHTS, by=0)[1]
    parts = [
        computed(lambda v, w: mean(Weighted(v * v, w)), v[None], w[None], by=0)[1] for v, w in zip(values, WEIGHTS, strict=True)
    ]
    scaled = np.concatenate([part * w.sum() for part, w in zip(parts, WEIGHTS, strict=True)]) / WEIGHTS.sum()
    np.testing.assert_allclose(scaled, whole, rtol=1e-6)


def test_plain_values_count_alike():
    values = np.arange(12, dtype="float32").reshape(2, 3, 2)
    assert computed(mean, values) == 5.5
    assert computed(per_sample, values).tolist() == [2.5, 8.5]
