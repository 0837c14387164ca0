"""Decay schedules: pure functions of the steps averaged so far, evaluated alike on Python floats and inside a program.

A schedule is called as `schedule(n, k, ops)` and returns the decay: the weight of the old average in this update.

n: number of optimizer steps since the average began, before this update (0, 1, 2, … for an update at every step).
k: number of steps that this update covers. An update over k steps uses d^k if the decay d is meant per step; the time constant
then does not depend on the update interval.
ops: the arithmetic: `FLOATS` for Python numbers, or the scalar operations of a train program, to compile the schedule into it.
All values are float64.
"""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Scalar = Any  # a Python float, or a 0-D float64 variable of a program

MOST_STEPS = 10**15  # largest number of steps anywhere: sums and products of two stay within int64 and float64
_LARGEST = sys.float_info.max  # a Python integer may be larger than every float


class Arithmetic(Protocol):
    """The scalar operations of schedules, besides `+ - * /`."""

    def constant(self, value: float) -> Scalar: ...
    def minimum(self, a: Scalar, b: Scalar) -> Scalar: ...
    def maximum(self, a: Scalar, b: Scalar) -> Scalar: ...
    def exp(self, a: Scalar) -> Scalar: ...
    def log(self, a: Scalar) -> Scalar: ...


class _Floats:
    def constant(self, value: float) -> float:
        return float(value)

    def minimum(self, a: float, b: float) -> float:
        return min(a, b)

    def maximum(self, a: float, b: float) -> float:
        return max(a, b)

    def exp(self, a: float) -> float:
        return math.exp(a)

    def log(self, a: float) -> float:
        return math.log(a) if a > 0 else -math.inf


FLOATS: Arithmetic = _Floats()

Schedule = Callable[[Scalar, float, Arithmetic], Scalar]


def check_decay(decay: float) -> float:
    """`decay` itself, as a float; raises ValueError unless it is a number in [0, 1)."""
    if isinstance(decay, bool) or not isinstance(decay, numbers.Real) or not 0 <= decay < 1:
        raise ValueError(f"decay: expected a number in [0, 1), got {decay!r}")
    return float(decay)


def _positive(name: str, value: float) -> None:
    if not 0 < value <= _LARGEST:
        raise ValueError(f"{name}: expected a number > 0, got {value!r}")


@dataclass(frozen=True)
class Constant:
    """d at every step."""

    decay: float

    def __post_init__(self) -> None:
        check_decay(self.decay)

    def __call__(self, n: Scalar, k: float, ops: Arithmetic) -> Scalar:
        return ops.constant(_that_moves(self.decay**k))


@dataclass(frozen=True)
class ThresSteps:
    """min(d, (1 + m)/(10 + m)): TensorFlow's `num_updates`, Paddle's `thres_steps`.

    m is `steps(n)`, by default n itself. The first update then has decay 1/10, so the average follows the weights closely at
    first.
    """

    decay: float
    steps: Callable[[Scalar], Scalar] = lambda n: n

    def __post_init__(self) -> None:
        check_decay(self.decay)

    def __call__(self, n: Scalar, k: float, ops: Arithmetic) -> Scalar:
        m = self.steps(n)
        return _power(ops.minimum(ops.constant(self.decay), (m + 1.0) / (m + 10.0)), k, ops)


@dataclass(frozen=True)
class InverseGamma:
    """clamp(1 - (1 + n/γ)^(-p), minimum, d), and 0 at n = 0: the warm-up of Crowson, timm's ModelEmaV3 and ema-pytorch.

    p = 2/3 reaches 0.999 after 31,600 steps, p = 3/4 after 10,000.
    """

    decay: float
    gamma: float = 1.0
    power: float = 2 / 3
    minimum: float = 0.0

    def __post_init__(self) -> None:
        check_decay(self.decay)
        _positive("gamma", self.gamma)
        _positive("power", self.power)
        if not 0 <= self.minimum <= self.decay:
            raise ValueError(f"minimum: expected a number in [0, {self.decay}], got {self.minimum!r}")

    def __call__(self, n: Scalar, k: float, ops: Arithmetic) -> Scalar:
        grown = 1 - _power(n / ops.constant(self.gamma) + 1, -self.power, ops)
        clamped = ops.minimum(ops.maximum(grown, ops.constant(self.minimum)), ops.constant(self.decay))
        return _power(clamped * ops.minimum(n, ops.constant(1.0)), k, ops)


@dataclass(frozen=True)
class HalfLife:
    """2^(-1/h): the weight of an observation halves every h steps (Composer's EMA).

    With a ramp, h = min(steps, ramp·(n + 1)): at first the half-life grows with the run. n + 1 counts the steps after the
    update, as in EDM2 (Karras et al. 2024, TraditionalEMA, ramp 0.09). EDM (2022) counts the steps before the update, with
    ramp 0.05: its decay at a step equals this decay at the previous step.
    """

    steps: float
    ramp: float | None = None

    def __post_init__(self) -> None:
        _positive("half_life", self.steps)
        if self.ramp is not None:
            _positive("ramp", self.ramp)

    def __call__(self, n: Scalar, k: float, ops: Arithmetic) -> Scalar:
        if self.ramp is None:
            return ops.constant(_that_moves(2.0 ** (-k / self.steps)))
        h = ops.minimum(ops.constant(self.steps), (n + 1) * ops.constant(self.ramp))
        return ops.exp(ops.constant(-k * math.log(2)) / h)


@dataclass(frozen=True)
class Exponential:
    """d·(1 - e^(-(n + 1)/τ)): the schedule of PaddleDetection, with τ = 2000."""

    decay: float
    tau: float = 2000.0

    def __post_init__(self) -> None:
        check_decay(self.decay)
        _positive("tau", self.tau)

    def __call__(self, n: Scalar, k: float, ops: Arithmetic) -> Scalar:
        return _power(ops.constant(self.decay) * (1 - ops.exp((n + 1) / ops.constant(-self.tau))), k, ops)


@dataclass(frozen=True)
class PowerFunction:
    """β = (1 - Δt/t)^(γ+1), Karras et al. 2024, eq. 127: the weight of an observation at time t' is proportional to t'^γ.

    t = n + k is the time after the update, and Δt = k is the interval since the previous update. γ = 0 gives the simple
    average of stochastic weight averaging (Izmailov et al. 2018), n/(n + 1).
    """

    gamma: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= _LARGEST:
            raise ValueError(f"gamma: expected a number >= 0, got {self.gamma!r}")

    def __call__(self, n: Scalar, k: float, ops: Arithmetic) -> Scalar:
        return _power(n / (n + ops.constant(k)), self.gamma + 1, ops)


def weight_after(weight: Scalar, decay: Scalar) -> Scalar:
    """W_t = d_t·W_{t-1} + (1 - d_t), W_0 = 0: the total weight of the observations, 1 - Π d_i."""
    return decay * weight + (1 - decay)


def step_size(weight: Scalar, decay: Scalar) -> Scalar:
    """α_t = (1 - d_t)/W_t, given W_t: with s += α·(θ - s) the shadow is the bias-corrected average after every update."""
    return (1 - decay) / weight


def _that_moves(decay: float) -> float:
    """`decay` itself. Raises ValueError if float64 rounds it to 1: the average would never change, and W would stay 0."""
    if decay >= 1:
        raise ValueError("the decay is 1 in float64, an average that never moves: choose a shorter one")
    return decay


def _power(base: Scalar, exponent: float, ops: Arithmetic) -> Scalar:
    """base^exponent for base ≥ 0, all in float64. Paddle's own `pow` rounds its exponent to float32."""
    return base if exponent == 1 else ops.exp(ops.constant(exponent) * ops.log(base))
