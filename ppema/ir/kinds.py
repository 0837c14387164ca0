"""Properties of an operation that follow from its kind, attributes or call stack, on both versions of Paddle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle

from ppema.ir.base import Operation

# Operations that draw random numbers and have no `is_test` switch, on either version: axis-wise dropout, alpha dropout, noise.
RANDOM_KINDS = frozenset(
    {
        *("uniform", "gaussian", "uniform_random", "gaussian_random", "truncated_gaussian_random", "exponential"),
        *("bernoulli", "binomial", "multinomial", "poisson", "dirichlet", "standard_gamma", "gumbel_softmax"),
        *("randint", "randperm", "uniform_random_batch_size_like", "gaussian_random_batch_size_like"),
    }
)

# Layers that normalise their input and have weights of their own; `F.normalize` (p_norm) is none of them.
NORM_KINDS = frozenset({"batch_norm", "sync_batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})
# Paddle's kernels of these need the gradients of weight and bias both, or of neither.
PAIRED_NORM_KINDS = frozenset({"batch_norm", "sync_batch_norm", "instance_norm"})

# The operations that Paddle's mixed precision computes in a half type. Others follow their operands, or stay float32.
PRODUCT_KINDS = frozenset(
    {"conv2d", "matmul", "matmul_v2", "linear_v2", "mul", "einsum", "fused_gemm_epilogue", "flash_attn", "fused_attention"}
)

# Products with a weight, into which a BatchNorm after them can be folded; whether output channels are its second axis.
FOLDING = {
    **dict.fromkeys(("conv2d", "depthwise_conv2d", "conv3d"), False),
    **dict.fromkeys(("conv2d_transpose", "depthwise_conv2d_transpose", "conv3d_transpose"), True),
    **dict.fromkeys(("matmul", "matmul_v2"), True),
}


def draws_random_numbers(operation: Operation) -> bool:
    """Whether `operation` draws random numbers, in test mode too."""
    return operation.kind.rstrip("_") in RANDOM_KINDS


def keeps_master_weights(kind: str) -> bool:
    """Whether an optimizer's operation of this kind updates its master weight.

    Measured on both versions: on a CPU only sgd runs on bfloat16. It updates the parameter and never its master weight.
    """
    return kind != "sgd" or paddle.is_compiled_with_cuda()


def statistics_stand_still(attributes: Mapping[str, Any]) -> bool:
    """Whether a BatchNorm operation with these attributes does not change its running mean and variance."""
    fixed = attributes["is_test"] and not attributes.get("trainable_statistics")
    return bool(fixed or attributes.get("use_global_stats"))


def user_frame(callstack: Sequence[str]) -> str:
    """ "file:line" of the innermost frame in an operation's call stack outside Paddle; "" if there is none."""
    for line in reversed(callstack):
        path, _, rest = line.strip().removeprefix('File "').partition('", line ')
        if rest and "/paddle/" not in path:
            return f"{path}:{rest.partition(',')[0]}"
    return ""


def changes_nothing(attributes: Mapping[str, Any]) -> bool:
    """Whether a dropout operation with these attributes returns its input. Its other mode scales the input in test mode."""
    return bool(attributes["is_test"]) and attributes["mode"] == "upscale_in_train"
