"""The class against paddle.static.ExponentialMovingAverage, on the only Paddle that can construct that: 2.6."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.ir import backend, scope

pytestmark = pytest.mark.skipif(
    not paddle.__version__.startswith("2."), reason="paddle.static.ExponentialMovingAverage can not be constructed on Paddle 3"
)


def trainable(built):
    return [p.name for p in backend().parameters(built.main) if p.trainable]


def values(built, names):
    return {name: scope.get(built.scope, name).astype("float64") for name in names}


def test_equal_for_a_constant_decay(built):
    built.minimize()
    with built.guard():
        official = paddle.static.ExponentialMovingAverage(0.95)
        official.update()
        ours = ExponentialMovingAverage(0.95)
        ours.update()
    built.start()
    built.steps(40)
    names = trainable(built)
    with paddle.static.scope_guard(built.scope):
        with official.apply(built.executor):
            theirs = values(built, names)
        with ours.apply(built.executor):
            mine = values(built, names)
    for name in names:
        assert np.linalg.norm(mine[name] - theirs[name]) <= 1e-6 * np.linalg.norm(theirs[name]), name


def test_what_the_official_class_refuses(built):
    """thres_steps raises TypeError there; here it follows the formula in the official documentation."""
    with built.guard():
        steps = paddle.static.data("steps", [1], "float32")
        with pytest.raises(TypeError):
            paddle.static.ExponentialMovingAverage(0.95, thres_steps=steps)
    built.minimize()
    with built.guard():
        ExponentialMovingAverage(0.95, thres_steps=steps).update()


def test_two_official_averages_share_their_decay(built):
    built.minimize()
    with built.guard():
        for decay in (0.5, 0.9):
            paddle.static.ExponentialMovingAverage(decay).update()
    built.start()
    built.steps(3)
    assert scope.get(built.scope, "scheduled_ema_decay_rate") == np.float32(0.9)


def test_what_the_official_class_loses(built):
    """There a second apply before restore overwrites the saved raw weights; here it is refused (test_apply.py)."""
    built.minimize()
    with built.guard():
        official = paddle.static.ExponentialMovingAverage(0.9)
        official.update()
    built.start()
    built.steps(5)
    names = trainable(built)
    raw = values(built, names)
    with paddle.static.scope_guard(built.scope):
        with official.apply(built.executor, need_restore=False), official.apply(built.executor, need_restore=False):
            pass
        official.restore(built.executor)
    assert any((values(built, names)[name] != raw[name]).any() for name in names)


def test_its_correction_under_a_varying_decay(built):
    """The figure in docs/official-ema.md: constant weights, decay 0.9 for 500 steps, then 0.9999."""
    with built.guard():
        paddle.optimizer.SGD(0.0).minimize(built.loss)
        official = paddle.static.ExponentialMovingAverage(0.9)
        official.update()
        switch = paddle.static.data("switch", [1], "float64")
        # (1 + m)/(10 + m) is 0.9 at m = 80 and 0.9999 at m = 89990.
        ours = ExponentialMovingAverage(0.9999, thres_steps=switch)
        ours.update()
    built.start()
    theta, feed = scope.get(built.scope, "linear_0.w_0"), built.feed()
    for step in range(1, 502):
        decay, m = (0.9, 80.0) if step <= 500 else (0.9999, 89990.0)
        scope.put(built.scope, {"scheduled_ema_decay_rate": np.array([decay], "float32")})
        built.run(fetch=[built.loss], feed={**feed, "switch": np.array([m])})
    ratio = {}
    with paddle.static.scope_guard(built.scope):
        for name, ema in (("official", official), ("ours", ours)):
            with ema.apply(built.executor):
                ratio[name] = np.linalg.norm(scope.get(built.scope, "linear_0.w_0")) / np.linalg.norm(theta)
    assert abs(ratio["official"] - 20.46) < 0.01
    assert abs(ratio["ours"] - 1) < 1e-6
