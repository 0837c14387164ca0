"""The ChannelBias pass: the same numbers, by other operations."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppema.ir import backend
from ppema.ir.native import why_missing
from ppema.passes.channel_bias import ChannelBiasPass

pytestmark = [
    pytest.mark.skipif(not paddle.__version__.startswith("3."), reason="on Paddle 2.6 the pass leaves every program as it is"),
    pytest.mark.skipif(why_missing() is not None, reason=f"there are no C++ operations: {why_missing()}"),
]


def trained(layers, shape, *, replaced: bool):
    """Loss, output and gradients of a small network; the number of operations that the pass replaced."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        x = paddle.static.data("x", [-1, *shape[1:]], "float32")
        out = paddle.nn.Sequential(*(make() for make in layers))(x) * 1.0
        loss = (out * out).mean()
        pairs = paddle.static.append_backward(loss)
        fetch = [loss, out, *(gradient for _, gradient in pairs)]
        count = ChannelBiasPass().apply(backend(), main, fetch) if replaced else 0
    executor, scope = paddle.static.Executor(paddle.CPUPlace()), paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        paddle.seed(3)
        executor.run(startup)
        values = np.random.default_rng(0).normal(size=shape).astype("float32")
        found = executor.run(main, {"x": values}, fetch)
    return count, found


CONV = (lambda: paddle.nn.Conv2D(3, 5, 3), paddle.nn.ReLU, lambda: paddle.nn.Conv2D(5, 70, 1))
CASES = {
    "two convolutions": (CONV, [4, 3, 33, 29], 4),
    "of three dimensions": ((lambda: paddle.nn.Conv3D(2, 3, 2),), [3, 2, 4, 5, 6], 2),
    "one sample of one pixel": ((lambda: paddle.nn.Conv2D(3, 5, 1),), [1, 3, 1, 1], 2),
    "a linear layer is not concerned": ((paddle.nn.Flatten, lambda: paddle.nn.Linear(12, 4)), [2, 3, 2, 2], 0),
    "channels last": ((lambda: paddle.nn.Conv2D(3, 5, 3, data_format="NHWC"),), [2, 8, 8, 3], 0),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_paddles(case):
    layers, shape, expected = CASES[case]
    _, theirs = trained(layers, shape, replaced=False)
    count, ours = trained(layers, shape, replaced=True)
    assert count == expected
    assert ours[1].tobytes() == theirs[1].tobytes()  # an addition rounds in one way only
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)


def test_the_gradient_of_a_bias_is_the_float64_sum():
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        x = paddle.static.data("x", [-1, 7, 41, 37], "float32")
        bias = paddle.static.data("bias", [1, 7, 1, 1], "float32")
        bias.stop_gradient = x.stop_gradient = False
        weights = paddle.static.data("weights", [-1, 7, 41, 37], "float32")
        (gradient,) = paddle.static.gradients([((x + bias) * weights).sum()], [bias])
        gradient = gradient * 1.0
        assert ChannelBiasPass().apply(backend(), main, [gradient]) == 2
    values = 1e3 + np.random.default_rng(1).normal(size=[6, 7, 41, 37]).astype("float32")
    feed = {"x": values, "bias": np.ones([1, 7, 1, 1], "float32"), "weights": values}
    (got,) = paddle.static.Executor(paddle.CPUPlace()).run(main, feed, [gradient])
    expected = values.astype("float64").sum((0, 2, 3), keepdims=True)
    np.testing.assert_array_equal(got, expected.astype("float32"))


def test_what_is_fetched_stays():
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        x, bias = paddle.static.data("x", [-1, 2, 3, 3], "float32"), paddle.static.data("bias", [1, 2, 1, 1], "float32")
        added = x + bias
        assert ChannelBiasPass().apply(backend(), main, [added]) == 0
        assert ChannelBiasPass().apply(backend(), main, []) == 1
