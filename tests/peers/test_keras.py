"""Keras 3.15, keras/src/optimizers/optimizer_test.py: test_ema and test_ema_with_model_fit.

Its average begins with the weights after the first step: `bias_correction=False, start=1`.
"""

from __future__ import annotations

import numpy as np
from support.assigned import Assigned

BEGIN = np.array([[3.0, 4.0], [5.0, 6.0]], "float32")


def test_ema_that_overwrites_the_weights_after_three_steps():
    """Each step subtracts 1; the expected values are of the first element, and the other three go along."""
    program = Assigned({"v": BEGIN}, decay=0.9, bias_correction=False, start=1, overwrite_every=3)
    weights = BEGIN
    for weight, average in ((2.0, 2.0), (1.0, 1.9), (1.71, 1.71)):
        found = program.step(v=weights - 1)["v"]
        weights = program.weights()["v"]
        np.testing.assert_allclose(weights, BEGIN - 3 + weight, rtol=1e-6)
        np.testing.assert_allclose(found, BEGIN - 3 + average, rtol=1e-6)


def test_ema_of_a_fit():
    """A weight of 1 that two steps of gradient descent on its square, at a rate of 0.1, make 0.9 and 0.81: 0.891."""
    program = Assigned({"w": [[1.0, 1.0]]}, decay=0.9, bias_correction=False, start=1)
    program.step(w=[[0.9, 0.9]])
    np.testing.assert_allclose(program.step(w=[[0.81, 0.81]])["w"], [[0.891, 0.891]], atol=1e-5)
