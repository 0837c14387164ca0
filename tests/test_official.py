"""Against paddle.static.ExponentialMovingAverage, where it runs at all: Paddle 2.6."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppema.ema import ExponentialMovingAverage
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
    """thres_steps raises TypeError there; here it is the formula that its documentation gives."""
    with built.guard():
        steps = paddle.static.data("steps", [1], "float32")
        with pytest.raises(TypeError):
            paddle.static.ExponentialMovingAverage(0.95, thres_steps=steps)
        ExponentialMovingAverage(0.95, thres_steps=steps).update()


def test_what_the_official_class_loses(built):
    """A second apply before restore overwrites what it had put aside; here it is refused (test_ema.py)."""
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
