"""The EMA pass: appends one average's update to a train program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paddle

from ppema.averaging.decay import Schedule, step_size, weight_after
from ppema.errors import AverageError
from ppema.ir import IR, Parameter, Program, Variable


class _GraphArithmetic:
    """Schedule arithmetic on 0-D float64 variables of the default main program.

    Float64 because 1 - d keeps only half of float32's digits when d is near 1. Constants enter as `full` ops: an operand
    given as a Python number passes through float32 inside Paddle, which only whole numbers survive.
    """

    def constant(self, value: float) -> Variable:
        return paddle.full([], value, "float64")

    def minimum(self, a: Variable, b: Variable) -> Variable:
        return paddle.minimum(a, b)


GRAPH = _GraphArithmetic()


@dataclass(frozen=True)
class Average:
    """One average as it stands in a train program: which variables hold it, by the names of what is averaged.

    name: the average's own; shadow_of: shadow's name by parameter's name; shadows: the shadows' variables by parameter's
    name; count, weight: names of the number of updates (0-D int64) and of W_t (0-D float64).
    """

    name: str
    shadow_of: dict[str, str]
    shadows: dict[str, Variable]
    count: str
    weight: str

    @property
    def state_names(self) -> list[str]:
        """Everything that must be saved for the average to go on: shadows, count and weight."""
        return [*self.shadow_of.values(), self.count, self.weight]


def shadow_name(parameter: str, average: str) -> str:
    """The name under which `average` keeps `parameter`, as in TensorFlow: the variable's own name first."""
    return f"{parameter}/{average}"


@dataclass(frozen=True)
class EmaPass:
    """Make a train program update one average of its weights at every run.

    Takes a program that already holds its optimizer's ops, so that the update sees the step's new weights. Adds, for each
    averaged parameter θ, a float32 shadow s that is saved with the program, the two scalars n and W, and the ops of
        W_t = d_t·W_{t-1} + (1 - d_t),   s_t = s_{t-1} + (1 - d_t)/W_t·(θ_t - s_{t-1})
    so that after every update the shadow is the bias-corrected average itself; see `averaging/decay.py`. Nothing that was
    in the program before is changed. Before the first update the shadows are zero and mean nothing.
    """

    name: str
    schedule: Schedule

    def apply(self, ir: IR, main: Program, startup: Program, parameters: Sequence[Parameter]) -> Average:
        """Append to `main`, and the initial values to `startup`.

        Raises AverageError where the name is taken, or a parameter is not float32.
        """
        for parameter in parameters:
            if parameter.dtype != "float32":
                raise AverageError(f"{parameter.name} is {parameter.dtype}; averages of float32 parameters alone are supported")
        prefix = f"{self.name}/"
        taken = set(ir.state_names(main))
        shadow_of = {parameter.name: shadow_name(parameter.name, self.name) for parameter in parameters}
        clash = taken.intersection([*shadow_of.values(), prefix + "count", prefix + "weight"])
        if clash:
            raise AverageError(f"the program already has an average named {self.name!r} ({min(clash)})")

        def state(name: str, shape: Sequence[int], dtype: str) -> Any:
            return ir.create_state(main, startup, name, shape, dtype, 0.0)

        with paddle.static.program_guard(main, startup), ir.update_section(main):
            count = state(prefix + "count", [], "int64")
            weight = state(prefix + "weight", [], "float64")
            decay = self.schedule(paddle.cast(count, "float64"), GRAPH)
            new_weight = weight_after(weight, decay)
            alpha = paddle.cast(step_size(new_weight, decay), "float32")
            shadows = {}
            for parameter in parameters:
                # Float32 whatever the parameter's type: in half precision 1 - d is lost and the shadow never moves.
                shadow = state(shadow_of[parameter.name], parameter.shape, "float32")
                ir.append_lerp(shadow, parameter.variable, alpha)
                shadows[parameter.name] = shadow
            new_count = count + 1
            paddle.assign(new_weight, output=weight)
            paddle.assign(new_count, output=count)
        return Average(self.name, shadow_of, shadows, prefix + "count", prefix + "weight")
