"""The gradient norm pass: the norm of a step's gradient, in the steps in which the log has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import paddle

from ppema.ir import Variable, dtype_name
from ppema.passes.norm_state import GradientNorm
from ppema.passes.target import Pass, TrainProgram, assign


@dataclass(frozen=True)
class GradientNormPass(Pass):
    """Append √Σ g², over all numbers g of all gradients, to the steps in which it is due.

    It comes before the optimizer, so the gradients are those of the step: after accumulation, without a loss scale, and before
    clipping. A branch computes the norm. In other steps it costs no more than the branch that is not taken.
    """

    name: ClassVar[str] = "gradient norm"

    def apply(self, target: TrainProgram) -> GradientNorm:
        """Set `target.gradient_norm`."""
        ir, main, startup = target.ir, target.main, target.startup
        made = GradientNorm("gradient_norm.due", "gradient_norm.value", tuple(each.name for each, _ in target.gradients))
        due = ir.create_state(main, startup, made.due_name, [], "bool", 0.0)
        value = ir.create_state(main, startup, made.value_name, [], "float64", 0.0)
        gradients = [ir.gradient_values(gradient) for _, gradient in target.gradients]
        with target.appending():
            paddle.static.nn.cond(due, lambda: assign(_norm(gradients), value), None)
        target.gradient_norm = made
        return made


def _norm(gradients: list[Variable]) -> Variable:
    """√Σ g², 0-D float64. Each gradient's own norm is float32, or float64 for a float64 gradient."""
    squares = []
    for gradient in gradients:
        flat = paddle.reshape(gradient, [-1])
        if dtype_name(flat) not in ("float32", "float64"):
            flat = paddle.cast(flat, "float32")
        squares.append(paddle.square(paddle.cast(paddle.linalg.norm(flat), "float64")))
    return paddle.sqrt(paddle.add_n(squares))
