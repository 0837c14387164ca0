"""Models with several inputs and outputs, by position and by name."""

from __future__ import annotations

import paddle
import pytest

from ppema.config.sections.measure import Measure
from ppema.errors import ConfigError
from ppema.programs.model.outputs import call, operands, outputs_of


class Variable:
    """What a variable has that arrays lack."""

    shape, stop_gradient = (), True


A, B = Variable(), Variable()


class Pair(paddle.nn.Layer):
    def forward(self, left, right=None):
        return left, right


class Any(paddle.nn.Layer):
    def forward(self, *inputs, **named):
        return inputs, named


def test_inputs_are_passed_by_name_if_the_model_has_their_names():
    assert call(Pair(), {"right": A, "left": B}, named=True) == (B, A)
    assert call(Pair(), {"right": A, "left": B}, named=False) == (A, B)
    assert call(Pair(), {"x": A, "y": B}, named=True) == (A, B)
    assert call(Any(), {"x": A, "y": B}, named=True) == ((A, B), {})


def test_some_of_the_names_are_refused():
    with pytest.raises(ConfigError, match="forward takes the input left by name, but has no parameter other: give data.inputs"):
        call(Pair(), {"other": A, "left": B}, named=True)


def test_outputs_have_names():
    assert outputs_of(A) == {"output": A}
    assert outputs_of((A, B)) == {"output_0": A, "output_1": B}
    assert outputs_of({"mask": A, "aux": B}) == {"mask": A, "aux": B}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (3, "the model must return a variable, a tuple or a mapping of variables, it returns a int"),
        ((), "the model must return a variable, a tuple or a mapping of variables, it returns a tuple without an entry"),
        ((A, (A, B)), "the model's output 'output_1' must be a variable, it is a tuple"),
        ({"mask": None}, "the model's output 'mask' must be a variable, it is a NoneType"),
        ({1: A}, "the names of the model's outputs must be strings, got 1"),
    ],
)
def test_other_outputs_are_refused(returned, message):
    with pytest.raises(ConfigError) as error:
        outputs_of(returned)
    assert str(error.value) == message


def test_a_measure_takes_what_it_names_or_what_has_its_name_or_the_only_one():
    outputs, targets = {"mask": A, "aux": B}, {"edge": B}
    assert operands(Measure(name="mse", output="aux"), outputs, targets) == (B, B)
    assert operands(Measure(name="mse"), outputs, targets, "mask") == (A, B)
    assert operands(Measure(name="mse", output=("aux", "mask")), outputs, targets) == ({"aux": B, "mask": A}, B)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "output: the model returns mask, aux: choose one"),
        ({"output": "maks"}, "output: there is no output 'maks'; did you mean 'mask'?"),
        ({"output": ["aux", "x"]}, "output: there is no output 'x'; the model returns mask, aux"),
        ({"output": "aux", "target": "x"}, "target: there is no target 'x'; the targets are edge"),
    ],
)
def test_an_unknown_or_open_choice_is_refused(keys, message):
    with pytest.raises(ConfigError) as error:
        operands(Measure.model_validate({"name": "mse", **keys}), {"mask": A, "aux": B}, {"edge": B})
    assert str(error.value) == message
