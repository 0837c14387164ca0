"""A C++ operation of a layer overwrites only what nothing else reads."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.device import device_place
from support.quickened import quickened

from ppema.ir import backend
from ppema.ir.native import why_missing

if (why := backend().onednn_hindrance()) is not None or (why := why_missing()) is not None:
    pytest.skip(f"no layers of our own: {why}", allow_module_level=True)

F = paddle.nn.functional
SHAPES = {"x": [3, 16, 8], "w": [8, 256], "v": [3, 16, 256], "b": [256], "c": [256]}


@pytest.mark.parametrize("reader", ["fetched", "another"])
def test_a_result_that_something_else_reads_is_not_overwritten(reader):
    def build():
        x = paddle.static.data("x", [-1, 16, 8])
        x.stop_gradient = False
        product = paddle.matmul(x, paddle.create_parameter([8, 256], "float32"))
        y = product + paddle.create_parameter([256], "float32")
        read = [product] if reader == "fetched" else []
        loss = y.square().mean() + (0 if read else product.sum())
        return [*read, loss, *(paddle.assign(each) for each in paddle.static.gradients([loss], [x]))]

    assert "add" not in quickened(build)


@pytest.mark.parametrize("read", [False, True])
def test_a_gradient_that_something_else_reads_is_not_overwritten(read):
    def build():
        x = paddle.static.data("x", [-1, 64, 64])
        x.stop_gradient = False
        y = F.relu(x.exp())
        found = paddle.static.gradients([y.matmul(y, transpose_y=True)], [x, y] if read else [x])
        return [paddle.assign(each) for each in found]

    assert quickened(build) == ({} if read else {"relu_grad": 1})


def test_a_result_that_is_also_a_gradient_is_not_overwritten():
    """`add_grad` reads its gradient's numbers, and its other operands' shapes alone."""
    main = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, paddle.static.Program()):
        x, w, v, b, c = (paddle.static.data(name, shape) for name, shape in SHAPES.items())
        for each in (x, w, v, b, c):
            each.stop_gradient = False
        product = paddle.matmul(x, w)
        y, z = paddle.scale(v, 3.0) + b, product + c
        of_b, of_c = paddle.static.gradients([y], [b], [product])[0], paddle.static.gradients([z], [c])[0]
        fetched = [paddle.assign(each) for each in (y, z, of_b, of_c)]
        assert backend().quicken(main, fetched)["add_grad"] > 0
    rng = np.random.default_rng(0)
    feed = {name: rng.normal(size=shape).astype("float32") for name, shape in SHAPES.items()}
    found = paddle.static.Executor(device_place()).run(main, feed, fetched)
    product = feed["x"].astype("float64") @ feed["w"]
    wanted = [3 * feed["v"] + feed["b"], product + feed["c"], product.sum((0, 1)), np.full(256, 3.0 * 16)]
    for ours, true in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, true, rtol=0, atol=1e-5 * np.abs(true).max())
