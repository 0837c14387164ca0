"""The arguments of ExponentialMovingAverage: which it accepts, and which it refuses before anything is built."""

from __future__ import annotations

import math

import pytest
from support.averages import averaged, averages, same

from ppema.averaging.decay import Exponential, HalfLife, InverseGamma, PowerFunction
from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.errors import AverageError
from ppema.ir import backend


@pytest.mark.parametrize("key", ["include", "exclude"])
@pytest.mark.parametrize("given", ["linear_0.w", [5], None])
def test_patterns_are_a_list_of_strings(key, given):
    """A single string would count as a list of its characters."""
    with pytest.raises(TypeError, match=f"{key}: expected a list of regular expressions, got "):
        ExponentialMovingAverage(0.9, **{key: given})


def test_patterns_and_programs_may_be_any_iterable(built, here):
    ema = averaged(built, 0.9, include=(each for each in ["linear"]), programs=(each for each in [built.main]))
    with pytest.raises(AverageError, match="it averages linear_0.b_0, linear_0.w_0"):
        ema.average_name("conv2d_0.w_0")
    built.steps(1)
    with ema.apply(built.executor):
        assert False not in {op.is_test for op in backend().operations(built.main)}


@pytest.mark.parametrize(
    ("setting", "least", "given", "shown"),
    [
        ("start", 0, -1, "-1"),
        ("start", 0, 2**63, "9223372036854775808"),
        ("update_every", 1, 0, "0"),
        ("update_every", 1, 1.5, "1.5"),
        ("update_every", 1, True, "true"),
        ("update_every", 1, 10**15 + 1, "1000000000000001"),
        ("update_every", 1, 10**200, "an integer of 665 bits"),
        ("overwrite_every", 1, 2**63, "9223372036854775808"),
    ],
)
def test_settings_out_of_range(setting, least, given, shown):
    """Numbers of 2^63 and more in a program end in a segmentation fault or an OverflowError."""
    with pytest.raises(ValueError, match=f"^{setting}: expected an integer from {least} to 1e15, got {shown}$"):
        ExponentialMovingAverage(0.9, **{setting: given})


def test_the_largest_settings_are_built_and_run(built):
    settings = {"start": 10**15, "update_every": 10**15, "overwrite_every": 10**15}
    ema = averaged(built, 0.9, bias_correction=False, **settings)
    before = averages(built, ema)
    built.steps(2)
    assert same(averages(built, ema), before)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExponentialMovingAverage(10**400),
        lambda: ExponentialMovingAverage(0.9, thres_steps=10**400),
        lambda: ExponentialMovingAverage(0.9, scale=10**400),
        lambda: HalfLife(10**400),
        lambda: HalfLife(3.0, 10**400),
        lambda: InverseGamma(0.9, gamma=10**400),
        lambda: InverseGamma(0.9, power=10**400),
        lambda: InverseGamma(0.9, minimum=10**400),
        lambda: Exponential(0.9, 10**400),
        lambda: PowerFunction(10**400),
    ],
)
def test_integers_that_no_float_holds(make):
    with pytest.raises(ValueError, match="expected a number"):
        make()


def test_a_schedule_takes_the_place_of_thres_steps():
    with pytest.raises(ValueError, match="give one or the other"):
        ExponentialMovingAverage(0.9, thres_steps=3, schedule=HalfLife(3.0))


def test_names_that_are_none():
    with pytest.raises(TypeError, match="name: expected a string, got 5"):
        ExponentialMovingAverage(0.9, name=5)


@pytest.mark.parametrize(("given", "error"), [(-1, ValueError), (math.nan, ValueError), (True, TypeError), ("5", TypeError)])
def test_thres_steps_that_can_not_be(given, error):
    with pytest.raises(error, match="thres_steps: expected a number"):
        ExponentialMovingAverage(0.9, thres_steps=given)


def test_programs_that_are_none():
    with pytest.raises(TypeError, match="programs: expected paddle.static.Programs, got a str"):
        ExponentialMovingAverage(0.9, programs=["main"])


@pytest.mark.parametrize(
    ("argument", "error", "said"),
    [
        ({"schedule": 0.9}, TypeError, r"schedule: expected one of those in ppema.averaging.decay, such as .*, got 0.9"),
        ({"bias_correction": "no"}, TypeError, "bias_correction: expected True or False, got 'no'"),
        ({"bias_correction": None}, TypeError, "bias_correction: expected True or False, got None"),
        (
            {"overwrite_every": 5, "overwrite_mix": "half"},
            ValueError,
            r"overwrite_mix: expected a number in \(0, 1\], got 'half'",
        ),
        ({"programs": None}, TypeError, "programs: expected a list of paddle.static.Programs, got None"),
    ],
)
def test_what_an_argument_can_not_be_is_said_at_once(argument, error, said):
    with pytest.raises(error, match=f"^{said}$"):
        ExponentialMovingAverage(0.9, **argument)


def test_one_alone_is_no_list(built, here):
    """Iterating a Variable would add operations to the program, after which Paddle 3 ends the process later."""
    ema = averaged(built, 0.9)
    built.steps(1)
    before = backend().size(built.main)
    variable = backend().parameters(built.main)[0].variable
    for given, what in ((variable, f"a {type(variable).__name__}"), (variable.name, repr(variable.name))):
        with pytest.raises(TypeError, match=f"^variables: expected a list of parameters, or of their names, got {what}$"):
            ema.variables_to_restore(given)
    with pytest.raises(TypeError, match="^programs: expected a list of paddle.static.Programs, got a Program$"):
        with ema.apply(built.executor, programs=built.main):
            pass
    assert backend().size(built.main) == before
