"""What must not be put on oneDNN, since Paddle would lay its memory out wrongly."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppema.ir import backend

if (why := backend().onednn_hindrance()) is not None:
    pytest.skip(f"oneDNN: {why}", allow_module_level=True)

F = paddle.nn.functional


def last(images, weights):
    """A convolution with channels last, of images with channels first, and so is its result."""
    return F.conv2d(images.transpose([0, 2, 3, 1]), weights, padding=1, data_format="NHWC").transpose([0, 3, 1, 2])


def after(images, weights):
    return F.conv2d(F.relu(last(images, weights)), weights)


def before(images, weights):
    return last(F.conv2d(images, weights), weights)


def behind_a_branch(images, weights):
    taken = paddle.static.nn.cond(images.sum() > 0, lambda: last(images, weights), lambda: images * 2)
    return F.conv2d(taken, weights)


@pytest.mark.parametrize(
    ("compute", "kinds"), [(after, {}), (before, {"conv2d": 1}), (behind_a_branch, {})], ids=["after", "before", "branch"]
)
def test_channels_last_keep_what_reads_their_results_off_onednn(compute, kinds):
    """Forward that is what comes after them, and in the backward pass what came before."""
    rng = np.random.default_rng(0)
    feed = {
        "images": rng.normal(size=[2, 4, 6, 5]).astype("float32"),
        "weights": rng.normal(size=[4, 4, 3, 3]).astype("float32"),
    }
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        images, weights = (paddle.static.data(name, value.shape, "float32") for name, value in feed.items())
        images.stop_gradient = weights.stop_gradient = False
        loss = compute(images, weights).square().sum()
        fetched = [paddle.assign(each) for each in (loss, *paddle.static.gradients([loss], [images, weights]))]
    executor = paddle.static.Executor(paddle.CPUPlace())
    wanted = executor.run(main, feed=feed, fetch_list=fetched)
    assert backend().place_on_onednn(main, ["conv2d", "conv2d_grad"], fetched) == kinds
    for a, b in zip(executor.run(main, feed=feed, fetch_list=fetched), wanted, strict=True):
        assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)
