"""Replacements of slow operations in edge cases: numbers that are not finite, and unused gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from support.device import device_place

from ppema.ir import backend

pytestmark = pytest.mark.skipif(backend().onednn_hindrance() is not None, reason=f"oneDNN: {backend().onednn_hindrance()}")


def gradients(images: np.ndarray, window: dict[str, Any], *, quick: bool) -> list[np.ndarray]:
    """The results y of max pooling of `images`, and the gradient of Σ i·y_i by the images."""
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        x = paddle.static.data("x", list(images.shape), "float32")
        x.stop_gradient = False
        pooled = paddle.nn.functional.max_pool2d(x, **window)
        weights = paddle.arange(1, pooled.size + 1, dtype="float32").reshape(pooled.shape)
        (gradient,) = paddle.static.gradients([pooled], [x], [weights])
        fetched = [paddle.assign(pooled), paddle.assign(gradient)]
    if quick:
        assert backend().quicken(main, fetched) == {"pool2d_grad": 1}
    with paddle.static.scope_guard(paddle.static.Scope()):
        return paddle.static.Executor(device_place()).run(main, {"x": images}, fetched)


NOTHING = {"nan": np.nan, "minus infinity": -np.inf}


@pytest.mark.parametrize("value", NOTHING)
def test_a_window_without_a_maximum_sends_no_gradient_anywhere(value):
    """The index is -1: in the second channel the last pixel of the first, in the first channel foreign memory."""
    images = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype("float32")
    images[0, :2] = NOTHING[value]
    images[1, 1, 2:4, :4] = NOTHING[value]
    found, wanted = (gradients(images, {"kernel_size": 2}, quick=quick) for quick in (True, False))
    assert [each.tobytes() for each in found] == [each.tobytes() for each in wanted]
    assert not found[1][0, :2].any()


def test_nor_does_a_window_beyond_the_edge():
    images = np.arange(2 * 3 * 3, dtype="float32").reshape(1, 2, 3, 3)
    window = {"kernel_size": 1, "stride": 3, "ceil_mode": True}
    found, wanted = (gradients(images, window, quick=quick) for quick in (True, False))
    assert [each.tobytes() for each in found] == [each.tobytes() for each in wanted]
    assert found[1].reshape(2, 9)[:, 0].tolist() == [1.0, 5.0] and found[1].sum() == 6.0


@pytest.mark.parametrize("wanted", ["images", "bias"])
def test_a_bias_whose_gradient_is_wanted_alone_or_not_at_all_is_left(wanted):
    """The gradient operation then has one of its two results only, as behind a frozen convolution."""
    images = np.linspace(-1, 1, 32, dtype="float32").reshape(1, 2, 4, 4)
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        values = {"images": paddle.static.data("images", [-1, 2, 4, 4]), "bias": paddle.static.data("bias", [1, 2, 1, 1])}
        values[wanted].stop_gradient = False
        loss = (values["images"] + values["bias"]).square().sum()
        fetched = [paddle.assign(each) for each in paddle.static.gradients([loss], [values[wanted]])]
    assert backend().quicken(main, fetched) == {"add": 1}
    feed = {"images": images, "bias": np.ones([1, 2, 1, 1], "float32")}
    slopes = 2 * (images + 1)
    (found,) = paddle.static.Executor(device_place()).run(main, feed=feed, fetch_list=fetched)
    np.testing.assert_allclose(found, slopes if wanted == "images" else slopes.sum((0, 2, 3), keepdims=True), rtol=1e-5)
