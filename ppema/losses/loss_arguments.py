"""Checks of the arguments that several losses take."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import paddle

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.values import shown


def number(value: Any, key: str, wanted: str, *, low: float, low_fits: bool = True, high: float = math.inf) -> float:
    """`value` as a float in [low, high), or in (low, high) if not `low_fits`. Raises ConfigError at the argument `key`.

    wanted: the valid values, for the message.
    """
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not numeric or not low <= value < high or (value == low and not low_fits):
        raise ConfigError.of(f"expected {wanted}, got {shown(value)}", "args", key)
    return float(value)


def numbers(value: Any, key: str, count: int, each: str) -> Variable:
    """The list `value` of `count` finite numbers ≥ 0, not all 0, as a constant [count] float32.

    Raises ConfigError at the argument `key`. each: the thing that has a number of the list, for the message.
    """
    valid = isinstance(value, (list, tuple)) and len(value) == count
    if not valid or not all(isinstance(x, (int, float)) and not isinstance(x, bool) and 0 <= x < math.inf for x in value):
        raise ConfigError.of(f"expected a list of {count} numbers >= 0, one for each {each}, got {shown(value)}", "args", key)
    constant = np.asarray(value, "float32")
    if not (np.isfinite(constant).all() and constant.any()):
        raise ConfigError.of(f"expected numbers that float32 can hold, and one above 0, got {shown(value)}", "args", key)
    return paddle.assign(constant)


def integer(value: Any, key: str) -> int:
    """`value` if it is an integer. Raises ConfigError at the argument `key`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError.of(f"expected an integer, got {shown(value)}", "args", key)
    return value


def class_axis(value: Any, rank: int) -> int:
    """The axis of the classes of predictions with `rank` axes, counted from the end. Raises ConfigError at `axis`.

    The first axis is that of the samples.
    """
    axis = integer(value, "axis")
    if axis not in (*range(1, rank), *range(1 - rank, 0)):
        known = f"an axis from 1 to {rank - 1}, or -1 for the last" if rank > 1 else "predictions [N, C], not [N]"
        raise ConfigError.of(f"expected {known}, got {axis}", "args", "axis")
    return axis % rank - rank
