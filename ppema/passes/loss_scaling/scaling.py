"""The passes of a loss scale: a factor of the loss that keeps small gradients representable in float16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import paddle

from ppema.passes.loss_scaling.loss_scale import LossScale
from ppema.passes.target import Pass, TrainProgram, assign


@dataclass(frozen=True)
class ScaleLossPass(Pass):
    """Multiply the loss by S before the gradients are built (Micikevicius et al. 2018, arXiv:1710.03740, section 3.2).

    `UnscalePass` divides the gradients by S again. S is a power of two, so both are exact: unless a number overflows or
    is subnormal, all results have the bits of a program without the passes.

    initial: S of the first run, a power of two.
    """

    name: ClassVar[str] = "scale loss"
    initial: float = 2.0**16

    def apply(self, target: TrainProgram) -> str:
        """Set `target.scaled` and `target.scale`."""
        names = ("loss_scale", "loss_scale.good", "loss_scale.overflows")
        types, values = ("float32", "int64", "int64"), (self.initial, 0, 0)
        made = [
            target.ir.create_state(target.main, target.startup, name, [], dtype, value)
            for name, dtype, value in zip(names, types, values, strict=True)
        ]
        target.scale = LossScale(*made, name=names[0], overflows_name=names[-1])
        with paddle.static.program_guard(target.main, target.startup):
            target.scaled = target.loss * target.scale.scale
        return f"the loss times a scale that begins at {self.initial:.0f}"


@dataclass(frozen=True)
class UnscalePass(Pass):
    """Divide the gradients by S, before they are checked, clipped and accumulated. Requires `target.scale`."""

    name: ClassVar[str] = "unscale"

    def apply(self, target: TrainProgram) -> None:
        assert target.scale is not None, "ScaleLossPass comes first"
        with target.appending():
            inverse = paddle.full([], 1.0, "float32") / target.scale.scale
            target.gradients = [(parameter, gradient * inverse) for parameter, gradient in target.gradients]


@dataclass(frozen=True)
class AdjustScalePass(Pass):
    """Append the update of S at the end of each run. Requires `target.scale` and `target.guard`.

    A run overflows if a gradient is not finite, the loss and all statistics are finite, and S > 1: S is halved, and the run is
    an overflow. After `every` finite steps since the last change S is doubled, up to `most`. Without a limit it would grow to
    infinity, where every run is skipped. A run that is skipped for another reason leaves S as it is: a smaller S would not
    help.

    If a step takes several runs, only its last counts as a finite step. One overflow among them costs the whole step, so they
    must be as rare among steps as without accumulation. The sums hold unscaled gradients, and do not depend on S.

    every: number of finite steps, at least 1. most: the largest S, a power of two.
    """

    name: ClassVar[str] = "adjust scale"
    # The update comes after the gate: a skipped run must change S too.
    whole: ClassVar[bool] = True
    every: int = 2000
    most: float = 2.0**24

    def apply(self, target: TrainProgram) -> str:
        scale, guard = target.scale, target.guard
        assert scale is not None, "ScaleLossPass comes first"
        assert guard is not None, "FinitePass comes first"
        with target.appending():
            one, zero = paddle.full([], 1, "int64"), paddle.full([], 0, "int64")
            finite = paddle.reshape(guard.finite, [])
            rest_is_finite = paddle.all(guard.each[len(guard.variables) :])
            overflow = paddle.logical_and(rest_is_finite, scale.scale > paddle.full([], 1.0, "float32"))
            overflow = paddle.logical_and(paddle.logical_not(finite), overflow)
            done = finite if target.accumulation is None else paddle.logical_and(finite, target.accumulation.ends)
            good = scale.good + paddle.where(done, one, zero)
            grown = good >= paddle.full([], self.every, "int64")
            larger = paddle.minimum(scale.scale * 2.0, paddle.full([], self.most, "float32"))
            value = paddle.where(overflow, scale.scale * 0.5, paddle.where(grown, larger, scale.scale))
            good = paddle.where(paddle.logical_or(overflow, grown), zero, good)
            overflows = scale.overflows + paddle.where(overflow, one, zero)
            for new, state in ((value, scale.scale), (good, scale.good), (overflows, scale.overflows)):
                assign(new, state)
        return f"halved after an overflow, doubled after {self.every} finite steps, up to {self.most:.0f}"
