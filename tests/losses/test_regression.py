"""Losses for numbers against values derived by hand."""

from __future__ import annotations

import numpy as np
import pytest
from support.exact import named
from support.graph import computed

from ppema.errors import ConfigError
from ppema.losses import build_loss

# Differences 0, 1, -2, 3 and 1e25, whose square float32 can not hold.
PREDICTIONS, TARGETS = np.array([1, 2, 3, 4, 1e25], "float32"), np.array([1, 1, 5, 1, 0], "float32")


@pytest.mark.parametrize(
    ("name", "args", "values", "gradients"),
    [
        ("mse", {}, [0, 1, 4, 9, np.inf], [0, 2, -4, 6, 2e25]),
        ("mae", {}, [0, 1, 2, 3, 1e25], [0, 1, -1, 1, 1]),
        ("smooth_l1", {}, [0, 0.5, 1.5, 2.5, 1e25], [0, 1, -1, 1, 1]),
        ("smooth_l1", {"beta": 2}, [0, 0.25, 1, 2, 1e25], [0, 0.5, -1, 1, 1]),
        ("huber", {}, [0, 0.5, 1.5, 2.5, 1e25], [0, 1, -1, 1, 1]),
        ("huber", {"delta": 2}, [0, 0.5, 2, 4, 2e25], [0, 1, -2, 2, 2]),
    ],
)
def test_values_and_gradients(name, args, values, gradients):
    found, gradient = computed(build_loss(named(name, **args)), PREDICTIONS, TARGETS, by=0)
    np.testing.assert_allclose(found, np.array(values), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.array(gradients), rtol=1e-6)
    assert computed(build_loss(named(name, **args)), PREDICTIONS[:, None], TARGETS).tolist() == found.tolist()


@pytest.mark.parametrize("name", ["mse", "mae", "smooth_l1", "huber"])
@pytest.mark.parametrize("targets", [np.zeros((5, 2), "float32"), np.zeros(5, "int64")])
def test_targets_that_do_not_fit_are_never_broadcast(name, targets):
    with pytest.raises(ConfigError, match=f"{name} expects float32 targets of the predictions' shape; the model gives"):
        computed(build_loss(named(name)), PREDICTIONS, targets)


@pytest.mark.parametrize(("name", "key"), [("smooth_l1", "beta"), ("huber", "delta")])
def test_a_bound_of_0(name, key):
    with pytest.raises(ConfigError) as caught:
        computed(build_loss(named(name, **{key: 0})), PREDICTIONS, TARGETS)
    assert str(caught.value) == f"args.{key}: expected a number > 0, got 0"
