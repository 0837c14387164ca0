"""Programs with channels last, and the thread-local layout that they change."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.placed import Side, distance

from ppema.ir import backend
from ppema.passes.onednn import OnednnPass
from ppema.programs.executor import Executor

if (why := backend().onednn_hindrance()) is not None:
    pytest.skip(f"oneDNN: {why}", allow_module_level=True)

F = paddle.nn.functional


def last(images, weights):
    """A convolution with channels last. Its images and its result have channels first."""
    return F.conv2d(images.transpose([0, 2, 3, 1]), weights, padding=1, data_format="NHWC").transpose([0, 3, 1, 2])


def after(images, weights):
    return F.conv2d(F.relu(last(images, weights)), weights)


def beside(images, weights):
    return F.conv2d(images, weights, padding=1) + last(images, weights)


def in_a_branch(images, weights):
    taken = paddle.static.nn.cond(images.sum() < 1e6, lambda: last(images, weights), lambda: images * 2)
    return F.conv2d(taken, weights)


def resized(images, weights):
    larger = F.interpolate(images.transpose([0, 2, 3, 1]), scale_factor=2, data_format="NHWC")
    return F.conv2d(larger.transpose([0, 3, 1, 2]), weights)


def slopes(compute):
    """Builds the sum of squares of a convolution's values, and its gradients."""

    def build():
        images, weights = (paddle.static.data(name, value.shape, "float32") for name, value in drawn().items())
        images.stop_gradient = weights.stop_gradient = False
        loss = compute(images, weights).square().sum()
        return [paddle.assign(each) for each in (loss, *paddle.static.gradients([loss], [images, weights]))]

    return build


def drawn():
    # Height, width and channels are equal, so that data in a wrong layout still has the right shape.
    rng = np.random.default_rng(0)
    shapes = {"images": [2, 4, 4, 4], "weights": [4, 4, 3, 3]}
    return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("compute", "kind", "number"),
    [(after, "conv2d", 2), (beside, "conv2d", 2), (in_a_branch, "conv2d", 2), (resized, "nearest_interp", 1)],
)
def test_a_program_with_channels_last_stays_as_it_is(compute, kind, number):
    placed = Side(slopes(compute), onednn=True).placement
    native = f"{number} conv2d, {number} conv2d_grad"
    assert str(placed) == f"computes nothing, as there is a {kind} with channels last; Paddle's own kernels compute {native}"
    assert not placed.changed


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("first", [after, resized])
def test_programs_that_ran_before_change_nothing(first, plain):
    """They change nothing before a program on oneDNN is prepared, and nothing between two runs of it."""
    wanted = Side(slopes(lambda x, w: F.conv2d(x, w, padding=1)), onednn=False)(**drawn())
    disturbing = Side(slopes(first), onednn=False)
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        fetched = slopes(lambda x, w: F.conv2d(x, w, padding=1))()
    assert OnednnPass().place(main, fetched).placed == {"conv2d": 1, "conv2d_grad": 1}
    scope = paddle.static.Scope()
    executor = Executor(paddle.CPUPlace(), scope, plain=plain)
    for _ in range(3):
        disturbing(**drawn())
        with paddle.static.scope_guard(scope):
            assert distance(executor.run(main, drawn(), fetched), wanted) <= 1e-6
