"""The precision of averages: the type of a shadow, the compensated update, and rounding to a parameter's type.

Importing this module registers the type bfloat16 with numpy (ml_dtypes).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
import numpy as np

Precision = Literal["float32", "compensated"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Array = Any  # a numpy array or a variable of a program, with + - *

HALF_TYPES = ("float16", "bfloat16")
# The shadow's type by the parameter's type. A half type would round the increment α·(θ - s) away.
SHADOW_TYPES: dict[str, Literal["float32", "float64"]] = {
    **dict.fromkeys((*HALF_TYPES, "float32"), "float32"),
    "float64": "float64",
}

# The smallest positive normal number of float32, and its largest. Paddle's kernels treat anything smaller as 0.
FLOAT32 = (float(np.finfo("float32").tiny), float(np.finfo("float32").max))


def compensated(shadow: Array, rest: Array, value: Array, alpha: Array) -> tuple[Array, Array]:
    """The updated shadow s + α·(θ - s) and its rounding error, the `rest` of the next update (Kahan's summation).

    y = α·(θ - s) + c,  s' = s + y,  c' = y - (s' - s)

    shadow, rest, value: s, c and θ, of one shape and type. alpha: a scalar of that type. The formula uses only + - *, each
    rounded once; numpy and a program therefore compute the same bits.
    """
    step = (value - shadow) * alpha + rest
    updated = shadow + step
    return updated, step - (updated - shadow)


def widened(array: np.ndarray) -> np.ndarray:
    """An array of a half type as float32, exactly. Any other array is returned unchanged."""
    return array.astype(np.float32) if array.dtype.name in HALF_TYPES else array


def finite(array: np.ndarray) -> bool:
    """Whether all numbers of a floating-point array are finite: neither NaN nor infinite."""
    if array.dtype.name not in HALF_TYPES:
        # One pass over memory. A finite sum of squares proves that all numbers are finite. An overflow proves nothing.
        flat = array.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(np.dot(flat, flat)):
                return True
    return bool(np.isfinite(widened(array)).all())


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """A copy of a float32 or float64 array as `dtype`, rounded to nearest, ties to even. Numbers that overflow become infinite.

    Raises ValueError for bfloat16 from any type but float32: those values would be rounded twice.
    """
    if dtype == "bfloat16" and array.dtype != np.float32:
        raise ValueError(f"{array.dtype.name} can not be rounded to bfloat16")
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(dtype)


def fitted(array: np.ndarray, dtype: str) -> np.ndarray:
    """A shadow in the type `dtype` of its weight: a float32 shadow of a half weight is rounded, any other is unchanged."""
    return rounded(array, dtype) if dtype in HALF_TYPES and array.dtype == np.float32 else array
