"""torch 2.13, test/optim/test_swa_utils.py: TestSWAUtils' closed forms, on weights of our own.

torch's averages copy the weights at their first update: `bias_correction=False, start=1`.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.assigned import Assigned
from support.averages import averaged, recorded, weights

from ppema.averaging.decay import PowerFunction

UPDATES = 10


@pytest.mark.parametrize("shape", [(5, 1, 3, 3), (10,), ()], ids=str)
def test_averaged_model(shape):
    """test_averaged_model_all_devices: the weights after ten steps of a random walk, by their coefficients in the average."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(UPDATES, *shape)), axis=0).astype("float32")
    decay = 0.999
    of_ema = [(1.0 if i == 0 else 1 - decay) * decay ** (UPDATES - i - 1) for i in range(UPDATES)]
    of_swa = [1 / UPDATES] * UPDATES
    for coefficients, settings in (
        (of_ema, {"decay": decay, "bias_correction": False, "start": 1}),
        (of_swa, {"schedule": PowerFunction(0.0)}),
    ):
        program = Assigned({"w": rng.normal(size=shape)}, **settings)
        for value in walk:
            found = program.step(w=value)["w"]
        expected = np.tensordot(coefficients, walk.astype("float64"), axes=1)
        assert np.abs(found - expected).max() <= 1e-6 * np.abs(walk).max()


@pytest.mark.parametrize("use_buffers", [True, False])
@pytest.mark.usefixtures("here")
def test_averaged_model_exponential(built, use_buffers):
    """use_buffers: BatchNorm's statistics are averaged with the weights, or are those of the model."""
    policy = "average" if use_buffers else "copy"
    ema = averaged(built, 0.9, bias_correction=False, start=1, batch_norm=policy)
    course = recorded(built, UPDATES)
    means = course[0]
    for values in course[1:]:
        means = {name: 0.9 * means[name] + 0.1 * value for name, value in values.items()}
    statistics = {"batch_norm2d_0.w_1", "batch_norm2d_0.w_2"}
    if not use_buffers:
        means |= {name: course[-1][name] for name in statistics}
    with ema.apply(built.executor):
        found = weights(built)
    assert found.keys() == means.keys() >= statistics
    for name, mean in means.items():
        assert np.linalg.norm(found[name] - mean) <= 1e-6 * np.linalg.norm(mean), name
