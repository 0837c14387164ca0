"""Paddle 2.6, test/legacy_test/test_ema.py: Adam on the mean of an `fc`, and the average by hand to 1e-5; here to 1e-6."""

from __future__ import annotations

import numpy as np
import paddle
from support.device import device_place

import ppema
from ppema.ir import scope

DECAY = 0.999


def test_check_ema():
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        data = paddle.static.data("x", [-1, 5], "float32")
        hidden = paddle.static.nn.fc(data, 10, weight_attr="fc.weight", bias_attr=False)
        cost = paddle.mean(hidden)
        test, (predicted,) = ppema.clone_for_test(main, [hidden])
        paddle.optimizer.Adam(0.001).minimize(cost)
        ema = ppema.ExponentialMovingAverage(DECAY)
        ema.update()
    rng, by_hand = np.random.default_rng(0), 0.0
    where, executor = paddle.static.Scope(), paddle.static.Executor(device_place())
    with paddle.static.scope_guard(where):
        executor.run(startup)
        for _ in range(6):
            executor.run(main, feed={"x": rng.random((10, 5), "float32")})
            by_hand = DECAY * by_hand + (1 - DECAY) * scope.get(where, "fc.weight").astype("float64")
        by_hand /= 1 - DECAY**6
        batch = rng.random((10, 5), "float32")
        with ema.apply(executor):
            applied = scope.get(where, "fc.weight")
            (averaged,) = executor.run(test, feed={"x": batch}, fetch_list=[predicted])
        np.testing.assert_allclose(applied, by_hand, rtol=1e-6, atol=1e-8)
        (raw,) = executor.run(test, feed={"x": batch}, fetch_list=[predicted])
    np.testing.assert_allclose(averaged, batch @ applied, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(averaged, raw)
