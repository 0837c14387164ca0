"""The passes of a step's norms: `KeepPass` before the optimizer's update, `NormsPass` after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import paddle

from ppema.ir import NativeOp, Variable
from ppema.ir.native import why_missing
from ppema.passes.step_norms import StepNorms
from ppema.passes.target import Pass, TrainProgram, assign

NAME = "norms.value"


@dataclass(frozen=True)
class KeepPass(Pass):
    """Append √Σ g², over all numbers g of all gradients, and copies of the weights that the step trains.

    The gradients are those that the optimizer takes: after accumulation, without a loss scale, before clipping. Clipping on
    Paddle 2.6 is in place, so they are measured here. `OptimizePass` and `NormsPass` follow.
    """

    name: ClassVar[str] = "keep"

    def apply(self, target: TrainProgram) -> str:
        """Set `target.norms`."""
        ir = target.ir
        weights = {each.name: each.variable for each in target.parameters}
        trained = tuple(weights[parameter.name] for parameter, _ in target.gradients)
        value = ir.create_state(target.main, target.startup, NAME, [3], "float64", 0.0)
        with target.appending():
            gradients = [ir.gradient_values(gradient, merged=True) for _, gradient in target.gradients]
            if why_missing() is None:
                measure = NativeOp("ppema_norm", {"values": gradients}, {"norm": ([1], "float64")})
                (gradient,) = ir.append_native_op(measure)
            else:
                gradient = _norm([paddle.cast(each, "float64") for each in gradients])
            target.norms = StepNorms(gradient, trained, tuple(map(paddle.assign, trained)), value, NAME)
        return f"the norm of {len(trained)} gradients, and copies of their weights"


@dataclass(frozen=True)
class NormsPass(Pass):
    """Append √Σ w² and √Σ (w - w_before)², over all numbers of all trained weights w, and keep all three norms.

    The weights are those after the optimizer's update, before an average overwrites them. Sums are float64. Requires
    `target.norms`.
    """

    name: ClassVar[str] = "norms"

    def apply(self, target: TrainProgram) -> str:
        norms = target.norms
        assert norms is not None, "KeepPass comes first"
        with target.appending():
            if why_missing() is None:
                inputs = {"weights": norms.weights, "before": norms.before, "gradient": [norms.gradient]}
                measure = NativeOp("ppema_norms", inputs, {"norms": ([3], "float64")})
                (measured,) = target.ir.append_native_op(measure)
            else:
                after, before = ([paddle.cast(each, "float64") for each in side] for side in (norms.weights, norms.before))
                changes = [each - other for each, other in zip(after, before, strict=True)]
                measured = paddle.concat([norms.gradient, _norm(after), _norm(changes)])
            assign(measured, norms.value)
        return f"of {len(norms.weights)} weights and of their update"


def _norm(values: Sequence[Variable]) -> Variable:
    """√Σ v² over all numbers v of `values`, float64 [1]. values: float64."""
    return paddle.reshape(paddle.sqrt(paddle.add_n([paddle.sum(each * each) for each in values])), [1])
