"""What rounding does to averages: the type of a shadow, the compensated update, and rounding to a parameter's type.

Importing this module makes bfloat16 a type that numpy knows by name (ml_dtypes).
"""

from __future__ import annotations

from typing import Any, Literal

import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
import numpy as np

Precision = Literal["float32", "compensated"]
Array = Any  # a numpy array, or a variable of a program: whatever has + - *

HALF_TYPES = ("float16", "bfloat16")
# The type of a shadow by its parameter's. In a half type the increment α·(θ - s) would be rounded away at once.
SHADOW_TYPES: dict[str, Literal["float32", "float64"]] = {
    **dict.fromkeys((*HALF_TYPES, "float32"), "float32"),
    "float64": "float64",
}

# What float32 holds with all its digits, and what Paddle's kernels do not take for 0.
FLOAT32 = (float(np.finfo("float32").tiny), float(np.finfo("float32").max))


def compensated(shadow: Array, rest: Array, value: Array, alpha: Array) -> tuple[Array, Array]:
    """s + α·(θ - s), and what its rounding lost, to be given as `rest` to the next update (Kahan's summation).

    y = α·(θ - s) + c,  s' = s + y,  c' = y - (s' - s)

    shadow, rest, value: s, c and θ, of one shape and type; alpha: a scalar of that type. All of it is written with + - *
    alone, each rounded once, so that numpy and a program compute the same bits.
    """
    step = (value - shadow) * alpha + rest
    updated = shadow + step
    return updated, step - (updated - shadow)


def widened(array: np.ndarray) -> np.ndarray:
    """The values of an array of a half type as float32, exactly; any other array as it is."""
    return array.astype(np.float32) if array.dtype.name in HALF_TYPES else array


def finite(array: np.ndarray) -> bool:
    """Whether no number of a floating-point array is NaN or infinite."""
    if array.dtype.name not in HALF_TYPES:
        # One pass over memory. The sum of squares is finite only if all of them are; where it overflows, this tells nothing.
        flat = array.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(np.dot(flat, flat)):
                return True
    return bool(np.isfinite(widened(array)).all())


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """A copy of float32 or float64 values as `dtype`, rounded to nearest, ties to even; what is too large becomes infinite.

    Raises ValueError for bfloat16 from anything but float32, which would be rounded twice.
    """
    if dtype == "bfloat16" and array.dtype != np.float32:
        raise ValueError(f"{array.dtype.name} can not be rounded to bfloat16")
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(dtype)


def fitted(array: np.ndarray, dtype: str) -> np.ndarray:
    """A shadow as the type `dtype` of the weight that it averages: rounded to it where that is a half type, else as it is."""
    return rounded(array, dtype) if dtype in HALF_TYPES and array.dtype == np.float32 else array
