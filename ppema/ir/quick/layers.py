"""Replacements in layers of training, by ppema's own operations (native/layers.cc).

An operation of a forward pass is replaced only in a program that holds its gradient too. Programs of evaluations keep Paddle's,
so that their values are those of exported models, and need no compiler.
"""

from __future__ import annotations

import math
from typing import Any

from paddle import _C_ops

from ppema.ir.base import Variable
from ppema.ir.quick.replacement import Replacement

# An operation with fewer numbers for a sample is as fast in Paddle.
WORTH = 4096
# Their results are memory of their own, which no gradient of theirs reads: what follows may overwrite it.
_OWN_RESULT = ("pd_op.matmul", "pd_op.add", "pd_op.scale", "custom_op.ppema_bias_")
# Operations that know some operands by their shape alone, and the places of those.
_SHAPES = {"pd_op.add_grad": (0, 1), "custom_op.ppema_bias_backward": (1,)}
# The same for gradients.
_GRADIENTS = ("matmul", "conv2d", "depthwise_conv2d", "batch_norm", "pool2d", "max_pool2d_with_index")
_OWN_GRADIENT = ("pd_op.add_n", *(f"pd_op.{kind}_grad" for kind in _GRADIENTS))
_ops: Any = _C_ops  # Any, as the stubs lack custom operators


def _large(value: Variable) -> bool:
    return math.prod(size for size in value.shape if size > 0) >= WORTH


def _readers(value: Variable) -> list[str]:
    return [op.name() for op in value.all_used_ops()]


def _may_overwrite(value: Variable, reader: str) -> bool:
    """Whether nothing but one operation `reader` reads the numbers of `value`, which are memory of their own."""
    readers = [op.name() for op in value.all_used_ops() if not _knows_its_shape_alone(op, value)]
    return readers == [reader] and value.get_defining_op().name() in _OWN_RESULT


def _knows_its_shape_alone(op, value: Variable) -> bool:
    places = [place for place, each in enumerate(op.operands_source()) if each.initialized() and each.is_same(value)]
    return set(places) <= set(_SHAPES.get(op.name(), ()))


def _is_bias(x: Variable, y: Variable) -> bool:
    """Whether x + y adds y [columns...] to each row of x [rows..., columns...]."""
    wide, narrow = list(x.shape), list(y.shape)
    rows = len(wide) - len(narrow)
    return rows > 0 and bool(narrow) and min(narrow) > 0 and wide[rows:] == narrow and _large(x)


def _adds_bias(op) -> bool:
    x, y = op.operands_source()
    return _is_bias(x, y) and "pd_op.add_grad" in _readers(y) and _may_overwrite(x, "pd_op.add")


def _bias(op) -> tuple[Variable, ...]:
    """The same bits. Paddle's broadcasting takes five times as long."""
    x, y = op.operands_source()
    return (_ops._run_custom_op("ppema_bias", x, y)[0],)


def _sums_bias(op) -> bool:
    """Whether the gradient by x is that of the sum, and nothing writes to one of the two."""
    of_x, of_y = op.results()
    x, y, gradient = op.operands_source()
    if not of_y.initialized() or not _is_bias(x, y) or list(x.shape) != list(gradient.shape):
        return False
    readers = [*_readers(gradient), *(_readers(of_x) if of_x.initialized() else [])]
    return not any(name.endswith("_") or name == "builtin.combine" for name in readers)


def _bias_grad(op) -> tuple[Variable | None, ...]:
    """(g, Σ g over the rows), with the same bits. Paddle copies g, and takes up to a hundred times as long for the sum."""
    _, y, gradient = op.operands_source()
    (sums,) = _ops._run_custom_op("ppema_bias_backward", gradient, y)
    return gradient if op.result(0).initialized() else None, sums


def _relu_may_overwrite(op) -> bool:
    gradient = op.operand_source(1)
    own = gradient.get_defining_op().name() in _OWN_GRADIENT
    return own and _large(gradient) and _readers(gradient) == ["pd_op.relu_grad"]


def _relu_grad(op) -> tuple[Variable, ...]:
    """The same bits, with all threads."""
    y, gradient = op.operands_source()
    return (_ops._run_custom_op("ppema_relu_backward", gradient, y)[0],)


def _is_large(op) -> bool:
    return _large(op.operand_source(0))


def _gelu_grad(op) -> tuple[Variable, ...]:
    return (_ops._run_custom_op("ppema_gelu_backward", *op.operands_source(), op.attrs()["approximate"])[0],)


def _last_softmax(op) -> bool:
    x, axis = op.operand_source(0), op.attrs()["axis"]
    last = bool(x.shape) and axis in (-1, len(x.shape) - 1)
    return last and _large(x) and "pd_op.softmax_grad" in _readers(op.result(0)) and _may_overwrite(x, "pd_op.softmax")


def _softmax(op) -> tuple[Variable, ...]:
    return (_ops._run_custom_op("ppema_softmax", op.operand_source(0))[0],)


def _norms_rows(op) -> bool:
    x, axis = op.operand_source(0), op.attrs()["begin_norm_axis"]
    return 0 < axis < len(x.shape) and min(x.shape[axis:]) > 0 and _large(x)


def _layer_norm_grad(op) -> tuple[Variable | None, ...]:
    """Of x alone, since mean and variance of the forward pass are rounded."""
    x, scale, *_, gradient = op.operands_source()
    given = [x, gradient, *([scale] if scale.initialized() else [])]
    made = _ops._run_custom_op("ppema_layer_norm_backward", given, op.attrs()["begin_norm_axis"], op.attrs()["epsilon"])
    return tuple(new if old.initialized() else None for old, new in zip(op.results(), made, strict=True))


LAYERS = {
    "add": Replacement(_adds_bias, _bias, native=True, overwrites=0),
    "add_grad": Replacement(_sums_bias, _bias_grad, native=True),
    "relu_grad": Replacement(_relu_may_overwrite, _relu_grad, native=True, overwrites=1),
    "gelu_grad": Replacement(_is_large, _gelu_grad, native=True),
    "softmax": Replacement(_last_softmax, _softmax, native=True, overwrites=0),
    "layer_norm_grad": Replacement(_norms_rows, _layer_norm_grad, native=True),
}
