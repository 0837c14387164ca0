"""The arguments of ExponentialMovingAverage: their checks, and their conversion to schedules, rules and passes."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import paddle

from ppema.averaging.decay import Constant, Schedule, ThresSteps, check_decay
from ppema.averaging.rule import check_count
from ppema.ir import Program, Variable, dtype_name
from ppema.passes.select import POLICIES, BatchNormPolicy, Selection
from ppema.passes.switch import SwitchPass
from ppema.values import shown


def check_name(given: str | None) -> None:
    """Raises TypeError unless it is a string or None, and ValueError for a name that cannot be part of a file's name."""
    if given is None:
        return
    if not isinstance(given, str):
        raise TypeError(f"name: expected a string, got {given!r}")
    if not given or "/" in given or not given.isprintable():
        raise ValueError(f"name: expected printable characters and no '/', as files are named after it, got {given!r}")


def check_list(name: str, given: Any, kind: str) -> tuple[Any, ...]:
    """The elements of `given`. Raises TypeError for a single element: iterating a Variable would add operations to its program.

    kind: the elements in the plural, for the message.
    """
    if isinstance(given, str) or hasattr(given, "stop_gradient") or not isinstance(given, Iterable):
        what = repr(given) if given is None or isinstance(given, str) else f"a {type(given).__name__}"
        raise TypeError(f"{name}: expected a list of {kind}, got {what}")
    return tuple(given)


def check_programs(programs: Sequence[Program]) -> tuple[Program, ...]:
    """The elements of `programs`. Raises TypeError unless it is a list of paddle.static.Programs."""
    given = check_list("programs", programs, "paddle.static.Programs")
    for program in given:
        if not hasattr(program, "global_block"):
            raise TypeError(f"programs: expected paddle.static.Programs, got a {type(program).__name__}")
    return given


def check_patterns(name: str, given: Sequence[str]) -> tuple[str, ...]:
    """The elements of `given`. Raises TypeError unless it is a list of strings."""
    patterns = check_list(name, given, "regular expressions")
    if not all(isinstance(each, str) for each in patterns):
        raise TypeError(f"{name}: expected a list of regular expressions, got {given!r}")
    return patterns


def check_steps(given: Any) -> Any:
    """`given` itself, a number as float.

    Raises TypeError unless it is None, a callable, a Variable or a number. Raises ValueError unless a number is finite and at
    least 0.
    """
    if given is None or callable(given) or hasattr(given, "stop_gradient"):
        return given
    if isinstance(given, bool) or not isinstance(given, numbers.Real):
        raise TypeError(f"thres_steps: expected a number, a Variable or a callable, got {given!r}")
    try:
        steps = float(given)
    except OverflowError:
        steps = math.inf
    if not 0 <= steps < math.inf:
        raise ValueError(f"thres_steps: expected a number of steps, 0 or more, got {shown(given)}")
    return steps


def check_when(given: Variable | None) -> Variable | None:
    """`given` itself. Raises TypeError unless it is a bool Variable of one element."""
    if given is None:
        return None
    if not hasattr(given, "stop_gradient"):
        raise TypeError(f"when: expected a bool Variable of one element, got {given!r}")
    if dtype_name(given) != "bool" or math.prod(given.shape) not in (1, -1):
        raise TypeError(f"when: expected a bool Variable of one element, got {dtype_name(given)} {list(given.shape)}")
    return given


def schedule_of(schedule: Schedule | None, decay: float, thres_steps: Any) -> Schedule:
    """The schedule that the three arguments define.

    Raises ValueError for a value out of range, or for both schedule and thres_steps, and TypeError for a wrong type.
    """
    check_decay(decay)
    steps = check_steps(thres_steps)
    if schedule is not None:
        if steps is not None:
            raise ValueError("schedule: it takes the place of decay and thres_steps; give one or the other")
        return schedule
    if steps is None:
        return Constant(decay)
    return ThresSteps(decay, lambda n: as_float64(steps(n) if callable(steps) else steps))


def selection_of(include: Sequence[str], exclude: Sequence[str], batch_norm: BatchNormPolicy) -> Selection:
    """The variables to cover. Raises TypeError unless the patterns are lists of strings, ValueError for an unknown policy."""
    if batch_norm not in POLICIES:
        raise ValueError(f"batch_norm: expected one of {', '.join(POLICIES)}, got {batch_norm!r}")
    return Selection(check_patterns("include", include), check_patterns("exclude", exclude), batch_norm)


def switch_of(average: str, every: int | None, mix: float, update_every: int) -> SwitchPass | None:
    """The pass that overwrites weights by `average`, None without `every`. Raises ValueError for a value out of range."""
    if every is None:
        if mix != 1:
            raise ValueError("overwrite_mix: it requires overwrite_every")
        return None
    check_count("overwrite_every", every, 1)
    if every < update_every:
        raise ValueError(f"overwrite_every: expected update_every, {update_every}, or more, got {every}")
    if not (isinstance(mix, (int, float)) and 0 < mix <= 1):
        raise ValueError(f"overwrite_mix: expected a number in (0, 1], got {mix!r}")
    return SwitchPass(average, every, mix)


def as_float64(value: Any) -> Any:
    """A number or a Variable of one element, as a 0-D float64 Variable for schedules. A Variable's negative value becomes 0."""
    if not hasattr(value, "stop_gradient"):
        return paddle.full([], check_steps(value), "float64")
    return paddle.clip(paddle.cast(paddle.reshape(value, []), "float64"), min=0.0)
