"""Decay schedules as text, for the C++ operation that evaluates them at each update (`ir/native/expression.h`).

The only definition of a schedule is its Python code (`decay.py`). This module calls it with a recording in place of n. The
recorded operations form an expression in reverse Polish notation: "n 1p+0 + log".
"""

from __future__ import annotations

from dataclasses import dataclass

from ppema.averaging.decay import Constant, Exponential, HalfLife, InverseGamma, PowerFunction, Schedule, ThresSteps


@dataclass(frozen=True)
class Recorded:
    """An expression in n.

    text: its tokens in reverse Polish notation, separated by blanks.
    """

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
    """The arithmetic of schedules that records each operation instead of computing it."""

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
    """`schedule` over k steps as an expression in n.

    None for a schedule that is not defined in `decay.py`, and for one that reads variables of a program.
    """
    ours = isinstance(schedule, (Constant, Exponential, HalfLife, InverseGamma, PowerFunction))
    # The default of `steps` is n itself; any other function may read variables of a program.
    counts = isinstance(schedule, ThresSteps) and schedule.steps is ThresSteps.steps
    return schedule(Recorded("n"), k, _Recording()).text if ours or counts else None


def _joined(a: Recorded | float, b: Recorded | float, operation: str) -> Recorded:
    return Recorded(f"{_text(a)} {_text(b)} {operation}")


def _text(value: Recorded | float) -> str:
    # Hexadecimal keeps every bit; C++'s from_chars reads it without the prefix 0x.
    return value.text if isinstance(value, Recorded) else float(value).hex().replace("0x", "")
