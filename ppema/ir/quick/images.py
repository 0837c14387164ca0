"""Replacements in convolutional networks, by other operations of Paddle."""

from __future__ import annotations

import paddle
from paddle import _C_ops

from ppema.ir.base import Variable
from ppema.ir.quick.replacement import Replacement


def _adds_per_channel(op) -> bool:
    """Whether it adds a convolution's bias [1, C, 1, 1] to [N, C, H, W]. For the gradient: whether both results are used."""
    if not all(result.initialized() for result in op.results()):
        return False
    x, y = (list(value.shape) for value in op.operands_source()[:2])
    return len(x) == 4 and x[1] > 1 and y == [1, x[1], 1, 1] and list(op.result(0).shape) == x


def _add(op) -> tuple[Variable, ...]:
    """1·x + y, equal to x + y to the last bit. `add` uses general broadcasting and takes 10 times as long."""
    x, y = op.operands_source()
    bias = paddle.reshape(y, [-1])
    return (_C_ops.affine_channel(x, paddle.ones_like(bias), bias, "NCHW"),)


def _add_grad(op) -> tuple[Variable, ...]:
    """(g, Σ_{n,h,w} g), summed image by image.

    The operand x serves only the scale's gradient, which is not used. g takes its place, since x may be freed by now, or
    overwritten by the sum.
    """
    _, y, gradient = op.operands_source()
    bias = paddle.reshape(y, [-1])
    of_x, _, of_bias = _C_ops.affine_channel_grad(gradient, paddle.ones_like(bias), bias, gradient, "NCHW")
    return of_x, paddle.reshape(of_bias, y.shape)


def _pools_max(op) -> bool:
    """Whether it is the gradient of a plain max pooling of images with a known kernel size."""
    attributes, size = op.attrs(), op.operands_source()[3].get_defining_op()
    return (
        attributes["pooling_type"] == "max"
        and attributes["padding_algorithm"] == "EXPLICIT"
        and not (attributes["global_pooling"] or attributes["adaptive"])
        and len(attributes["paddings"]) == 2
        and size.name() == "pd_op.full_int_array"
    )


def _pool2d_grad(op) -> tuple[Variable, ...]:
    """Pool again with the index of each maximum, and add the gradient there.

    `pool2d_grad` searches each window instead. With the forward pass included, the replacement takes two thirds of the time.
    Among equal maxima both choose the first. The forward pass is not replaced, as pooling with indices treats NaN differently.
    """
    x, _, gradient, size = op.operands_source()
    attributes = op.attrs()
    form = (size.get_defining_op().attrs()["value"], attributes["strides"], attributes["paddings"], False, False)
    _, where = _C_ops.max_pool2d_with_index(x, *form, attributes["ceil_mode"])
    # The index is -1 for a window without a number above float32's lowest: NaN, minus infinity, or outside under ceil_mode.
    # Such a window gets no gradient, as in `pool2d_grad`. The new operation would write it to memory in front of the image.
    there = paddle.cast(where + 1, "bool")  # where >= 0 takes twice as long
    sent = paddle.where(there, gradient, paddle.zeros_like(gradient))
    return (_C_ops.max_pool2d_with_index_grad(x, paddle.clip(where, min=0), sent, *form, attributes["ceil_mode"]),)


IMAGES = {
    "add": Replacement(_adds_per_channel, _add),
    "add_grad": Replacement(_adds_per_channel, _add_grad),
    "pool2d_grad": Replacement(_pools_max, _pool2d_grad),
}
