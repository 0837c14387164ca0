"""oneDNN's kernels in a train program: equal values and gradients, dense memory, and no effect on other programs."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.placed import Side, both, distance

from ppema.ir import backend
from ppema.passes.onednn import CONVOLUTIONS, KINDS

if (why := backend().onednn_hindrance()) is not None:
    pytest.skip(f"oneDNN: {why}", allow_module_level=True)

F = paddle.nn.functional


def slopes(function, shapes, dtype="float32"):
    """Builds function(*inputs) and the gradients, by the inputs, of a weighted sum of all its numbers."""

    def build():
        inputs = [paddle.static.data(f"x{index}", shape, dtype) for index, shape in enumerate(shapes)]
        for each in inputs:
            each.stop_gradient = False
        value = function(*inputs)
        weights = paddle.cos(paddle.cumsum(paddle.ones_like(value).reshape([-1]))).reshape(paddle.shape(value))
        return [paddle.assign(each) for each in (value, *paddle.static.gradients([paddle.sum(value * weights)], inputs))]

    return build


def drawn(shapes):
    rng = np.random.default_rng(0)
    return {f"x{index}": rng.normal(size=shape).astype("float32") for index, shape in enumerate(shapes)}


CASES = {
    "plain": ([2, 3, 9, 8], [8, 3, 3, 3], {}),
    "1x1": ([2, 17, 5, 6], [33, 17, 1, 1], {}),
    "strided": ([2, 16, 9, 9], [16, 16, 3, 3], {"stride": 2, "padding": 1}),
    "dilated": ([1, 4, 11, 11], [6, 4, 3, 3], {"dilation": (2, 1), "padding": 2}),
    "grouped": ([2, 12, 7, 7], [24, 4, 3, 3], {"groups": 3, "padding": 1}),
    "depthwise": ([2, 16, 8, 8], [16, 1, 5, 5], {"groups": 16, "padding": 2, "stride": 2}),
    "multiplied": ([2, 8, 8, 8], [16, 1, 3, 3], {"groups": 8}),
    "same": ([2, 3, 8, 7], [4, 3, 3, 2], {"padding": "SAME", "stride": 2}),
    "lopsided": ([2, 3, 8, 7], [4, 3, 3, 3], {"padding": [1, 0, 2, 1]}),
    "of one pixel": ([1, 1, 1, 1], [1, 1, 1, 1], {}),
    "3d": ([2, 3, 5, 6, 7], [4, 3, 3, 3, 3], {"padding": 1}),
    "3d grouped": ([2, 6, 5, 5, 5], [6, 2, 1, 3, 3], {"groups": 3, "stride": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_convolution(case):
    *shapes, options = CASES[case]

    def convolution(x, w):
        return (F.conv3d if len(x.shape) == 5 else F.conv2d)(x, w, **options)

    inputs = drawn(shapes)
    placed, native = both(slopes(convolution, shapes))
    exact = Side(slopes(convolution, shapes, "float64"), onednn=False)
    assert sum(placed.placement.placed.values()) == 2 and not placed.placement.native
    wanted = exact(**{name: array.astype("float64") for name, array in inputs.items()})
    for array, own, right in zip(placed(**inputs), native(**inputs), wanted, strict=True):
        assert distance([array], [right]) <= max(1e-6, 2 * distance([own], [right]))


def test_batches_of_any_size_go_through_one_program():
    build = slopes(lambda x, w: F.conv2d(x, w, padding=1), [[-1, 3, 6, 6], [4, 3, 3, 3]])
    placed, native = both(build)
    for size in (5, 2, 5, 1):
        inputs = drawn([[size, 3, 6, 6], [4, 3, 3, 3]])
        assert distance(placed(**inputs), native(**inputs)) <= 1e-6


def test_programs_of_one_process_do_not_take_each_others_kernels():
    """oneDNN caches kernels by the shapes and names of their inputs, which are equal in these programs."""
    options = [{}, {"padding": 2, "dilation": 2}, {"padding": 1}, {"stride": 2}, {"padding": 1, "stride": 2}]
    shapes = [[2, 6, 9, 9], [12, 6, 3, 3]]
    sides = [both(slopes(lambda x, w, o=each: F.conv2d(x, w, **o), shapes)) for each in options]
    inputs = drawn(shapes)
    for placed, native in (*sides, *reversed(sides)):
        assert distance(placed(**inputs), native(**inputs)) <= 1e-6


def test_a_bias_per_channel():
    """Values and the gradient by x are equal to the last bit. The bias's gradient is summed in another order."""
    shapes = [[4, 5, 6, 7], [5]]
    placed, native = both(slopes(lambda x, b: x + b.reshape([1, -1, 1, 1]), shapes))
    assert placed.placement.replaced == {"add": 1, "add_grad": 1}
    kinds = placed.kinds()
    assert (kinds["affine_channel"], kinds["affine_channel_grad"], kinds["add"], kinds["add_grad"]) == (1, 1, 0, 0)
    inputs = drawn(shapes)
    inputs["x0"][0, 0, :2] = [[np.inf], [np.nan]]
    inputs["x0"][1, 1] = -0.0
    found, wanted = placed(**inputs), native(**inputs)
    assert [array.tobytes() for array in found[:2]] == [array.tobytes() for array in wanted[:2]]
    assert distance(found[2:], wanted[2:]) <= 1e-6


@pytest.mark.parametrize(
    "shapes",
    [
        [[4, 5, 6, 7], [1, 1, 1, 1]],
        [[4, 5, 6, 7], [1, 5, 6, 1]],
        [[4, 5, 6, 7], [7]],
        [[1, 5, 1, 1], [4, 5, 6, 7]],
        [[4, 5], [5]],
    ],
)
def test_other_additions_stay(shapes):
    placed, _ = both(slopes(lambda x, y: x + y, shapes))
    assert not placed.placement.changed


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"stride": 2, "ceil_mode": True}, {"stride": 1}])
def test_the_gradient_of_max_pooling(options):
    """Equal bit for bit, also if several pixels of a window are the maximum, such as the zeros of a ReLU."""
    shapes = [[3, 4, 8, 9]]
    placed, native = both(slopes(lambda x: F.max_pool2d(x, 3, **options), shapes))
    kinds = placed.kinds()
    assert placed.placement.replaced == {"pool2d_grad": 1}
    assert (kinds["pool2d"], kinds["pool2d_grad"], kinds["max_pool2d_with_index_grad"]) == (1, 0, 1)
    inputs = {"x0": np.maximum(drawn(shapes)["x0"], 0)}
    assert [array.tobytes() for array in placed(**inputs)] == [array.tobytes() for array in native(**inputs)]


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.adaptive_max_pool2d(x, 2),
        lambda x: F.max_pool2d(x, 2, padding="SAME"),
        lambda x: F.max_pool2d(x, 2, padding=[1, 0, 0, 1]),
        lambda x: F.max_pool2d(x, 2, data_format="NHWC"),
        lambda x: F.max_pool3d(x.unsqueeze(2), 2, padding=1),
    ],
)
def test_other_pooling_stays(pool):
    assert not both(slopes(pool, [[3, 4, 8, 9]]))[0].placement.changed


def test_what_was_not_compared_stays_and_hinders_nothing():
    """Other types, transposed convolutions and fetched results keep Paddle's kernels."""

    def build():
        images = paddle.static.data("images", [2, 4, 8, 8], "float32")
        weights = paddle.static.data("weights", [4, 4, 3, 3], "float32")
        fetched = F.conv2d(images, weights)
        wide = F.conv2d(images.astype("float64"), weights.astype("float64"))
        values = [wide.astype("float32"), F.conv2d_transpose(fetched, weights, padding=1)]
        return [fetched, sum(F.conv2d(images, weights) + value.sum() for value in values)]

    placed, native = both(build)
    said = "computes 2 conv2d; Paddle's own kernels compute 2 conv2d, 1 conv2d_transpose"
    assert str(placed.placement) == said
    inputs = {"images": drawn([[2, 4, 8, 8]])["x0"], "weights": drawn([[4, 4, 3, 3]])["x0"]}
    assert distance(placed(**inputs), native(**inputs)) <= 1e-6


def test_in_a_branch_a_convolution_stays():
    def build():
        images = paddle.static.data("images", [2, 4, 8, 8], "float32")
        weights = paddle.static.data("weights", [4, 4, 3, 3], "float32")
        outside = F.conv2d(images, weights, padding=1)
        return [
            paddle.static.nn.cond(paddle.sum(images) > 0, lambda: F.conv2d(outside, weights), lambda: outside[:, :, 1:-1, 1:-1])
        ]

    placed, native = both(build)
    assert str(placed.placement) == "computes 1 conv2d; Paddle's own kernels compute 1 conv2d"
    inputs = {"images": np.abs(drawn([[2, 4, 8, 8]])["x0"]), "weights": drawn([[4, 4, 3, 3]])["x0"]}
    for sign in (1, -1):
        feed = {**inputs, "images": inputs["images"] * np.float32(sign)}
        assert distance(placed(**feed), native(**feed)) <= 1e-6


def test_a_test_program_reads_the_weights_of_today():
    """oneDNN's kernel in test mode would keep the weights of its first run."""

    def build():
        images = paddle.static.data("images", [2, 16, 9, 9], "float32")
        return [paddle.assign(paddle.nn.Conv2D(16, 32, 3)(images))]

    placed, native = both(build)
    images = drawn([[2, 16, 9, 9]])["x0"]
    weights = placed.scope.find_var("conv2d_0.w_0").get_tensor()
    for factor in (1, 2, -3):
        weights.set(np.array(weights) * np.float32(factor), paddle.CPUPlace())
        assert distance(placed(images=images), native(images=images)) <= 1e-6


def test_what_training_leaves_is_dense_and_the_same():
    """Weights, momenta and BatchNorm's statistics after three steps, compared as they lie in memory."""

    def build():
        images = paddle.static.data("images", [8, 3, 12, 12], "float32")
        layers = [
            paddle.nn.Conv2D(3, 16, 3, bias_attr=False),
            paddle.nn.BatchNorm2D(16),
            paddle.nn.ReLU(),
            paddle.nn.Conv2D(16, 17, 3, groups=1),
        ]
        loss = paddle.nn.Sequential(*layers)(images).square().mean()
        paddle.optimizer.Momentum(0.1).minimize(loss)
        return [loss]

    sides = Side(build, onednn=True), Side(build, onednn=False)
    for side in sides:
        for step in range(3):
            side(images=drawn([[8, 3, 12, 12]])["x0"] + np.float32(step))
    names = backend().state_names(sides[1].main)
    found, wanted = ([np.asarray(side.scope.find_var(name).get_tensor()) for name in names] for side in sides)
    for name, array, right in zip(names, found, wanted, strict=True):
        assert array.flags.c_contiguous and array.shape == right.shape
        assert distance([array], [right]) <= 1e-5, name


def test_no_program_but_the_given_one_changes():
    def build():
        return [F.conv2d(*(paddle.static.data(name, [1, 4, 4, 4], "float32") for name in "ab")).sum()]

    before = Side(build, onednn=False)
    placed = Side(build, onednn=True)
    after = Side(build, onednn=False)
    assert placed.kinds()["onednn_op.conv2d"] == 1
    assert before.kinds() == after.kinds() and before.kinds()["conv2d"] == 1
    # Its name is the second one before Paddle 3.2.
    switches = {"FLAGS_use_onednn", "FLAGS_use_mkldnn"} & set(paddle.base.core.globals().keys())
    assert switches and not any(paddle.get_flags([name])[name] for name in switches)


def test_the_kinds_are_convolutions_and_their_gradients():
    assert {kind.removesuffix("_grad") for kind in KINDS} == set(CONVOLUTIONS)
