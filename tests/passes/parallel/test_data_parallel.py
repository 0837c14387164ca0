"""The passes of ranks: buckets, what they refuse, and that all ranks are at one step. Their sums: tests/training/parallel."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppema.errors import ConfigError, TrainingError
from ppema.ir import backend
from ppema.ir.processes.own_memory import in_own_memory
from ppema.passes.parallel.data_parallel import ReducePass, SharePass
from ppema.passes.parallel.reduction import PLACE, Reduction, place_of_rank
from ppema.passes.target import TrainProgram, apply_passes
from ppema.programs.step import BackwardPass


def reduced(widths: list[int], bucket: int, *, sparse: bool = False) -> TrainProgram:
    """A program of linear layers without a bias, whose weights have 4·width numbers each. sparse: and of an embedding."""
    target = TrainProgram(paddle.static.Program(), paddle.static.Program())
    with backend().fresh_names(), paddle.static.program_guard(target.main, target.startup):
        x = paddle.static.data("x", [None, 4], "float32")
        layers = [paddle.nn.Linear(4, width, bias_attr=False) for width in widths]
        target.loss = sum(each(x).mean() for each in layers)
        if sparse:
            embedding = paddle.nn.Embedding(10, 4, sparse=True)
            target.loss = target.loss + embedding(paddle.static.data("ids", [None], "int64")).mean()
        optimizer = paddle.optimizer.SGD(0.1)
        apply_passes(target, [SharePass(False), BackwardPass(optimizer), ReducePass(3, bucket)])
    return target


@pytest.mark.parametrize(
    ("widths", "bucket", "buckets"),
    [
        ([2, 2, 2], 25 << 20, 1),
        ([16, 16, 16], 3 * 64 * 4, 2),  # the first also holds 3 numbers of the signals and the loss
        ([1, 100, 1], 64, 3),  # one gradient alone is larger
    ],
)
def test_gradients_go_in_buckets_of_limited_size(widths, bucket, buckets):
    target = reduced(widths, bucket)
    made = target.reduction
    assert made is not None
    sums = [op for op in backend().operations(target.main) if op.kind in ("all_reduce", "all_reduce_")]
    assert len(sums) == made.buckets == buckets
    assert all(op.depth == 0 for op in sums)
    assert made.size == 4 * (3 + sum(4 * width for width in widths))
    assert str(made) == f"sums 0.0 MiB over 3 ranks, in {buckets} bucket{'s' * (buckets > 1)}"


def sums_in_place(build, large: int = 64) -> int:
    """The number of gradients that are summed in their own memory. build: the loss of a network by its input, [None, 4]."""
    target = TrainProgram(paddle.static.Program(), paddle.static.Program())
    with backend().fresh_names(), paddle.static.program_guard(target.main, target.startup):
        target.loss = build(paddle.static.data("x", [None, 4], "float32"))
        apply_passes(target, [SharePass(False), BackwardPass(paddle.optimizer.SGD(0.1)), ReducePass(3, large=large)])
    kinds = [op.kind.rstrip("_") for op in backend().operations(target.main)]
    assert target.reduction is not None and target.reduction.buckets == kinds.count("all_reduce")
    return kinds.count("all_reduce") - kinds.count("concat")


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="on GPUs each sum hops through a network")
def test_large_gradients_are_summed_where_they_are():
    def layers(*widths: int):
        made = [paddle.nn.Linear(4, width) for width in widths]
        return lambda x: sum(each(x).mean() for each in made)

    assert sums_in_place(lambda x: layers(8, 3, 4)(x)) == 2  # the biases and the weight of 12 numbers go in a bucket
    assert sums_in_place(lambda x: layers(8, 3, 4)(x), large=65) == 1
    assert sums_in_place(lambda x: paddle.nn.Conv2D(1, 4, 2)(x.reshape([-1, 1, 2, 2])).mean()) == 1

    def twice(x):  # the gradient is a sum of two, which may be in the memory of one of them
        layer = paddle.nn.Linear(4, 4, bias_attr=False)
        return layer(layer(x)).mean()

    def reshaped(x):  # its gradient is a view of another one
        layer = paddle.nn.Linear(4, 8, bias_attr=False)
        return paddle.matmul(x, layer.weight.reshape([8, 4]), transpose_y=True).mean()

    assert (sums_in_place(twice), sums_in_place(reshaped)) == (0, 0)


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="on GPUs each sum hops through a network")
def test_a_gradient_that_is_read_elsewhere_is_not_replaced():
    target = TrainProgram(paddle.static.Program(), paddle.static.Program())
    with backend().fresh_names(), paddle.static.program_guard(target.main, target.startup):
        layer = paddle.nn.Linear(4, 8, bias_attr=False)
        target.loss = layer(paddle.static.data("x", [None, 4], "float32")).mean()
        apply_passes(target, [SharePass(False), BackwardPass(paddle.optimizer.SGD(0.1))])
        ((_, gradient),) = target.gradients
        assert in_own_memory(target.main, gradient)
        paddle.abs(gradient)  # which this rank could report
        assert not in_own_memory(target.main, gradient)


def test_the_gradients_of_ranks_keep_their_order_shapes_and_types():
    target = reduced([3, 5], 16)
    assert [(parameter.name, list(gradient.shape)) for parameter, gradient in target.gradients] == [
        (parameter.name, list(parameter.shape)) for parameter, _ in target.gradients
    ]
    assert target.loss is not None and list(target.loss.shape) == []


@pytest.mark.skipif(not paddle.__version__.startswith("2.6"), reason="gradients of embeddings are dense on Paddle 3")
def test_a_sparse_gradient_is_refused():
    with pytest.raises(ConfigError, match=r"the gradient of embedding_0\.w_0 is sparse, which ranks can not sum"):
        reduced([2], 64, sparse=True)


def test_ranks_at_different_steps_are_found():
    made = Reduction(2, None, 0, 1)
    assert made.stops(np.array([0, 14], np.float32), 7) is False
    assert made.stops(np.array([1, 14], np.float32), 7) is True
    with pytest.raises(TrainingError, match="the other ranks are not at step 8"):
        made.stops(np.array([0, 13], np.float32), 7)


def test_the_number_of_a_late_step_is_exact():
    given = {"stop": False, "share": 0.5, "samples": 64, "of_step": 0.5}
    steps = [place_of_rank(step=each, **given)[PLACE] for each in (5_000_000_003, 5_000_000_004)]
    assert steps[1][1] - steps[0][1] == 1
