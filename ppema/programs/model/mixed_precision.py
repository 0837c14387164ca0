"""Mixed precision: the casts of a model's forward pass, and the passes of a loss scale."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import paddle

from ppema.averaging.precision import HALF_TYPES
from ppema.errors import ConfigError
from ppema.ir import PRODUCT_KINDS, Program, Variable, backend, dtype_name
from ppema.passes.loss_scaling.scaling import AdjustScalePass, ScaleLossPass, UnscalePass
from ppema.passes.target import Pass


def casts(main: Program, precision: str) -> AbstractContextManager[None]:
    """A context for a model's forward pass in `main`, whose convolutions and matrix products compute in `precision`."""
    return nullcontext() if precision == "float32" else backend().autocast(main, precision)


def in_float32(value: Variable) -> Variable:
    """`value`, cast to float32 if it is of a half type."""
    return paddle.cast(value, "float32") if dtype_name(value) in HALF_TYPES else value


def computed(main: Program, precision: str) -> str:
    """The products of the forward pass in `main` that compute in `precision`, in words.

    Raises ConfigError if there are none: the run would be one in float32.
    """
    kinds = {kind: count for kind, count in backend().computed_in(main, precision).items() if kind in PRODUCT_KINDS}
    if not kinds:
        raise ConfigError.of(
            f"nothing in this model computes in {precision}: it has no convolution and no matrix product; use float32",
            "precision",
        )
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) + f" in {precision}"


def scaling(precision: str) -> tuple[Sequence[Pass], Sequence[Pass], Sequence[Pass]]:
    """The passes of the loss scale: those before the backward pass, after it, and after the check for finite gradients.

    Only float16 needs a scale: bfloat16 has the exponents of float32.
    """
    return ((ScaleLossPass(),), (UnscalePass(),), (AdjustScalePass(),)) if precision == "float16" else ((), (), ())
