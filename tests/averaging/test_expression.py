"""A recorded schedule evaluates to the same bits as the schedule itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppema.averaging.decay import FLOATS, Constant, Exponential, HalfLife, InverseGamma, PowerFunction, ThresSteps
from ppema.averaging.expression import recorded

SCHEDULES = [
    Constant(0.999),
    ThresSteps(0.9999),
    InverseGamma(0.999, gamma=2.5, power=0.75, minimum=0.1),
    HalfLife(123.4),
    HalfLife(1000.0, ramp=0.09),
    Exponential(0.9998),
    PowerFunction(6.94),
    PowerFunction(0.0),
]
BINARY = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "min": min,
    "max": max,
}


def evaluate(expression: str, n: float) -> float:
    """The value of the expression by the rules in ir/native/expression.h."""
    stack = []
    for token in expression.split(" "):
        if token in BINARY:
            b, a = stack.pop(), stack.pop()
            stack.append(BINARY[token](a, b))
        elif token in ("exp", "log"):
            stack.append(getattr(FLOATS, token)(stack.pop()))
        else:
            stack.append(n if token == "n" else float.fromhex(token))
    (result,) = stack
    return result


@pytest.mark.parametrize("schedule", SCHEDULES, ids=range(len(SCHEDULES)))
@given(n=st.integers(0, 10**7), k=st.sampled_from([1.0, 7.0, 0.125, 33.3]))
def test_a_recording_computes_the_same_bits(schedule, n, k):
    assert evaluate(recorded(schedule, k), float(n)) == schedule(float(n), k, FLOATS)


def test_an_expression_is_what_was_written():
    assert recorded(PowerFunction(1.0), 2.0) == "1.0000000000000p+1 n n 1.0000000000000p+1 + / log * exp"


def test_what_asks_a_programs_variables_is_not_recorded():
    assert recorded(ThresSteps(0.9, lambda n: n), 1.0) is None
    assert recorded(lambda n, k, ops: n, 1.0) is None
