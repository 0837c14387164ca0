"""BatchNorms folded into the products before them: which are, the numbers, and the outputs of the program."""

from __future__ import annotations

from collections import Counter

import numpy as np
import paddle
import pytest
from paddle import nn

from ppema.deploy.fold import fold_norms, folded, norms
from ppema.ir import backend, scope


def test_the_formula_by_hand():
    """γ = 2, σ² + ε = 4, μ = 3, β = 5: f = 1, b' = 1·(7 - 3) + 5 = 9. For γ = 6: f = 3."""
    form = {"mean": np.array([3.0]), "variance": np.array([3.75]), "shift": np.array([5.0]), "epsilon": 0.25}
    weight, bias = folded(np.array([[10.0]]), np.array([7.0]), scale=np.array([2.0]), **form)
    assert (weight.tolist(), bias.tolist()) == ([[10.0]], [9.0])
    weight, bias = folded(np.array([[10.0]]), np.array([7.0]), scale=np.array([6.0]), transposed=True, **form)
    assert (weight.tolist(), bias.tolist()) == ([[30.0]], [17.0])


class Twice(nn.Layer):
    """A convolution and its BatchNorm, used twice: neither can be folded."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2D(4, 4, 1), nn.BatchNorm2D(4)

    def forward(self, x):
        return self.norm(self.conv(self.norm(self.conv(x))))


class Read(nn.Layer):
    """A convolution that something besides the BatchNorm reads."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2D(4, 4, 1), nn.BatchNorm2D(4)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


def first(kind):
    """The kind of a product as both versions name it."""
    return kind.replace("matmul_v2", "matmul")


@pytest.mark.parametrize(
    ("make", "shape", "expected"),
    [
        (lambda: [nn.Conv2D(4, 6, 3, groups=2), nn.BatchNorm2D(6)], [4, 6, 6], {"conv2d": 1}),
        (lambda: [nn.Conv2D(4, 6, 3, bias_attr=False), nn.BatchNorm2D(6)], [4, 6, 6], {"conv2d": 1}),
        (lambda: [nn.Conv2D(4, 4, 3, groups=4, bias_attr=False), nn.BatchNorm2D(4)], [4, 6, 6], {"depthwise_conv2d": 1}),
        (
            lambda: [
                nn.Conv2D(4, 6, 3, bias_attr=False, data_format="NHWC"),
                nn.BatchNorm2D(6, data_format="NHWC"),
            ],
            [6, 6, 4],
            {"conv2d": 1},
        ),
        (lambda: [nn.Conv2DTranspose(4, 6, 3, groups=2), nn.BatchNorm2D(6)], [4, 6, 6], {"conv2d_transpose": 1}),
        (lambda: [nn.Conv3D(4, 3, 2, bias_attr=False), nn.BatchNorm3D(3)], [4, 3, 3, 3], {"conv3d": 1}),
        (lambda: [nn.Linear(4, 5), nn.BatchNorm1D(5)], [4], {"matmul": 1}),
        (lambda: [nn.Linear(4, 5, bias_attr=False), nn.BatchNorm1D(5)], [4], {"matmul": 1}),
        (lambda: [nn.Conv2D(4, 6, 3), nn.BatchNorm2D(6, weight_attr=False, bias_attr=False)], [4, 6, 6], {"conv2d": 1}),
        (lambda: [nn.Conv2D(4, 6, 3), nn.Dropout(0.5), nn.BatchNorm2D(6)], [4, 6, 6], {"conv2d": 1}),
        # A BatchNorm before the product, without one, or behind another operation stays.
        (lambda: [nn.BatchNorm2D(4), nn.Conv2D(4, 6, 3)], [4, 6, 6], {}),
        (lambda: [nn.Conv2D(4, 6, 3), nn.ReLU(), nn.BatchNorm2D(6)], [4, 6, 6], {}),
        (lambda: [Twice()], [4, 6, 6], {}),
        (lambda: [Read()], [4, 6, 6], {}),
    ],
)
def test_outputs_stay(make, shape, expected):
    rng = np.random.default_rng(0)
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), backend().fresh_names():
        x = paddle.static.data("x", [-1, *shape], "float32")
        model = nn.Sequential(*make(), nn.ReLU())
        model.eval()
        output = model(x)
    executor, own = paddle.static.Executor(paddle.CPUPlace()), paddle.static.Scope()
    feed = {"x": rng.standard_normal([3, *shape]).astype("float32")}
    with paddle.static.scope_guard(own):
        executor.run(startup)
        parameters = backend().parameters(main)
        scope.put(own, {each.name: rng.random(each.shape).astype("float32") + 0.5 for each in parameters})
        (before,) = executor.run(main, feed, [output])
        copy, inputs, (result,) = backend().for_inference(main, [output])
        assert list(inputs) == ["x"] and not any(each.kind == "dropout" for each in backend().operations(copy))
        there = norms(copy)
        done = fold_norms(copy, [result], own)
        assert Counter({first(kind): count for kind, count in done.items()}) == Counter(expected)
        assert norms(copy) == there - sum(done.values())
        (after,) = executor.run(copy, feed, [result])
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * max(1, np.abs(before).max()))


def test_a_norm_whose_result_is_an_output_stays():
    main = paddle.static.Program()
    with paddle.static.program_guard(main):
        model = nn.Sequential(nn.Conv2D(4, 6, 3), nn.BatchNorm2D(6))
        model.eval()
        output = model(paddle.static.data("x", [-1, 4, 6, 6], "float32"))
    copy, _, values = backend().for_inference(main, [output])
    assert backend().normed_products(copy, values) == []


def test_dropout_that_scales_in_test_mode_stays():
    main = paddle.static.Program()
    with paddle.static.program_guard(main):
        x = paddle.static.data("x", [-1, 4], "float32")
        output = nn.functional.dropout(x, 0.5, training=False, mode="downscale_in_infer") + 1
    copy, _, (result,) = backend().for_inference(main, [output])
    with paddle.static.scope_guard(paddle.static.Scope()):
        (found,) = paddle.static.Executor(paddle.CPUPlace()).run(copy, {"x": np.ones([1, 4], "float32")}, [result])
    assert found.tolist() == [[1.5] * 4]
