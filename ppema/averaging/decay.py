"""Decay schedules: pure functions of the number of updates, evaluated alike on Python floats and inside a program.

A schedule is called with `n`, the number of updates made before this one (0, 1, 2, ...), and with the arithmetic to use:
`FLOATS` for Python numbers, the train program's own scalar ops when it is compiled into one. All of it is float64.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Scalar = Any  # a Python float, or a 0-D float64 variable of a program


class Arithmetic(Protocol):
    """The scalar operations beyond `+ - * /` that schedules are written with."""

    def constant(self, value: float) -> Scalar: ...
    def minimum(self, a: Scalar, b: Scalar) -> Scalar: ...


class _Floats:
    def constant(self, value: float) -> float:
        return float(value)

    def minimum(self, a: float, b: float) -> float:
        return min(a, b)


FLOATS: Arithmetic = _Floats()

Schedule = Callable[[Scalar, Arithmetic], Scalar]


def check_decay(decay: float) -> float:
    """`decay` itself, as a float; raises ValueError unless it is a number in [0, 1)."""
    if isinstance(decay, bool) or not isinstance(decay, numbers.Real) or not 0 <= float(decay) < 1:
        raise ValueError(f"decay: expected a number in [0, 1), got {decay!r}")
    return float(decay)


@dataclass(frozen=True)
class Constant:
    """d, at every update."""

    decay: float

    def __post_init__(self):
        check_decay(self.decay)

    def __call__(self, n: Scalar, ops: Arithmetic) -> Scalar:
        return ops.constant(self.decay)


@dataclass(frozen=True)
class ThresSteps:
    """min(d, (1 + m)/(10 + m)): TensorFlow's `num_updates`, Paddle's `thres_steps`.

    m is `steps(n)`: by default n itself, so that the first update has decay 1/10 and the average follows quickly at first.
    """

    decay: float
    steps: Callable[[Scalar], Scalar] = lambda n: n

    def __post_init__(self):
        check_decay(self.decay)

    def __call__(self, n: Scalar, ops: Arithmetic) -> Scalar:
        m = self.steps(n)
        return ops.minimum(ops.constant(self.decay), (m + 1.0) / (m + 10.0))


def weight_after(weight: Scalar, decay: Scalar) -> Scalar:
    """W_t = d_t·W_{t-1} + (1 - d_t), W_0 = 0: the total weight 1 - Π d_i that the observations have received."""
    return decay * weight + (1 - decay)


def step_size(weight: Scalar, decay: Scalar) -> Scalar:
    """α_t = (1 - d_t)/W_t, given W_t: with s += α·(θ - s) the shadow is the bias-corrected average after every update."""
    return (1 - decay) / weight
