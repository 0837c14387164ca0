"""Decay schedules as text, for the C++ operation that evaluates them at each update (`ir/native/expression.h`).

A schedule is written down once, as Python code (`decay.py`); here it is called with a recording of its variable n, and what
it does with it comes out in reverse Polish notation: "n 1p+0 + log".
"""

from __future__ import annotations

from dataclasses import dataclass

from ppema.averaging.decay import Constant, Exponential, HalfLife, InverseGamma, PowerFunction, Schedule, ThresSteps


@dataclass(frozen=True)
class Recorded:
    """An expression in n. text: its tokens, operands first."""

    text: str

    def __add__(self, other: Recorded | float) -> Recorded:
        return _joined(self, other, "+")

    def __radd__(self, other: float) -> Recorded:
        return _joined(other, self, "+")

    def __sub__(self, other: Recorded | float) -> Recorded:
        return _joined(self, other, "-")

    def __rsub__(self, other: float) -> Recorded:
        return _joined(other, self, "-")

    def __mul__(self, other: Recorded | float) -> Recorded:
        return _joined(self, other, "*")

    def __rmul__(self, other: float) -> Recorded:
        return _joined(other, self, "*")

    def __truediv__(self, other: Recorded | float) -> Recorded:
        return _joined(self, other, "/")

    def __rtruediv__(self, other: float) -> Recorded:
        return _joined(other, self, "/")


class _Recording:
    """The arithmetic of schedules, written down instead of done."""

    def constant(self, value: float) -> Recorded:
        return Recorded(_text(value))

    def minimum(self, a: Recorded, b: Recorded) -> Recorded:
        return _joined(a, b, "min")

    def maximum(self, a: Recorded, b: Recorded) -> Recorded:
        return _joined(a, b, "max")

    def exp(self, a: Recorded) -> Recorded:
        return Recorded(f"{a.text} exp")

    def log(self, a: Recorded) -> Recorded:
        return Recorded(f"{a.text} log")


def recorded(schedule: Schedule, k: float) -> str | None:
    """`schedule` over k steps as an expression in n; None where it is not one of ours, or asks a program's variables."""
    ours = isinstance(schedule, (Constant, Exponential, HalfLife, InverseGamma, PowerFunction))
    # By default its steps are n itself.
    counts = isinstance(schedule, ThresSteps) and schedule.steps is ThresSteps.steps
    return schedule(Recorded("n"), k, _Recording()).text if ours or counts else None


def _joined(a: Recorded | float, b: Recorded | float, operation: str) -> Recorded:
    return Recorded(f"{_text(a)} {_text(b)} {operation}")


def _text(value: Recorded | float) -> str:
    # All digits of the number, as C++'s from_chars reads them.
    return value.text if isinstance(value, Recorded) else float(value).hex().replace("0x", "")
