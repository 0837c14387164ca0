"""Which values a sum over ranks can replace where they are, without a copy."""

from __future__ import annotations

import paddle

from ppema.ir.base import Program, Variable

# Operations that compute their results into memory of their own, on both versions. Others may return a view of their input.
_PRODUCTS = ("conv2d", "conv3d", "depthwise_conv2d", "conv2d_transpose", "matmul", "matmul_v2", "linear_v2", "mul")
_FRESH = frozenset(f"{each}_grad" for each in (*_PRODUCTS, "embedding", "lookup_table_v2"))


def in_own_memory(program: Program, value: Variable) -> bool:
    """Whether `value` has memory of its own, and no operation of `program` reads it so far.

    True for gradients of weights of convolutions, matrix products and embeddings, and for state, which its owner must reset.
    """
    if value.persistable:
        return True
    if isinstance(value, paddle.pir.Value):
        return value.use_empty() and value.get_defining_op().name().removeprefix("pd_op.") in _FRESH
    operations = program.global_block().ops
    writers = [each.type for each in operations if value.name in each.output_arg_names]
    return len(writers) == 1 and writers[0] in _FRESH and not any(value.name in each.input_arg_names for each in operations)
