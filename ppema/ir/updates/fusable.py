"""What native/step.cc knows of Paddle's optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from ppema.ir.elements import Gradient, Variable

_OPTIMIZERS = (
    *(paddle.optimizer.SGD, paddle.optimizer.Momentum, paddle.optimizer.Adam, paddle.optimizer.AdamW),
    paddle.optimizer.Lamb,
)
# These compute by operations without a state of their own, so a skipped run may compute them.
_CLIPS = (type(None), paddle.nn.ClipGradByNorm, paddle.nn.ClipGradByGlobalNorm)
_DECAYS = (type(None), paddle.regularizer.L2Decay)
_OPTIONS = ("_multi_precision", "_use_multi_tensor", "_lazy_mode", "_amsgrad", "_lr_ratio", "_use_lowprecision_moment")


def why_unknown(optimizer: Any, gradients: Sequence[Gradient]) -> str | None:
    """Why native/step.cc cannot make the step of `optimizer` by `gradients`, in a few words. None: it can."""
    kind = type(optimizer)
    if kind not in _OPTIMIZERS:
        return f"the optimizer is {kind.__name__}"
    option = next((each for each in _OPTIONS if getattr(optimizer, each, None)), None)
    if option is not None:
        return f"{kind.__name__} has {option.removeprefix('_')}"
    if not all(
        isinstance(getattr(optimizer, each, 0.0), int | float) for each in ("_beta1", "_beta2", "_epsilon", "_weight_decay")
    ):
        return f"{kind.__name__} has variables for its numbers"
    if getattr(optimizer, "_rescale_grad", 1.0) != 1.0:
        return f"{kind.__name__} has rescale_grad"
    if type(optimizer._grad_clip) not in _CLIPS:
        return f"the clipping is {type(optimizer._grad_clip).__name__}"
    decays = [optimizer.regularization, *(parameter.regularizer for parameter, _ in gradients)]
    other = next((each for each in decays if type(each) not in _DECAYS), None)
    if other is not None:
        return f"the weight decay is {type(other).__name__}"
    if len({parameter.name for parameter, _ in gradients}) < len(gradients):
        return "a weight has two gradients"
    for parameter, gradient in gradients:
        if _is_sparse(gradient):
            return f"the gradient of {parameter.name} is sparse"
        if not parameter.dtype == gradient.dtype == paddle.float32:
            return f"{parameter.name} is not float32"
    return None


def clips(optimizer: Any) -> bool:
    """Whether `optimizer` clips the gradients."""
    return optimizer._grad_clip is not None


def same(left: Variable, right: Variable) -> bool:
    """Whether both are one variable. Paddle 3 has several objects for one."""
    return left is right or (hasattr(left, "is_same") and left.is_same(right))


def _is_sparse(gradient: Variable) -> bool:
    if hasattr(gradient, "is_selected_row_type"):
        return gradient.is_selected_row_type()
    return gradient.type == paddle.base.core.VarDesc.VarType.SELECTED_ROWS
