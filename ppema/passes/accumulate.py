"""The passes of gradient accumulation: `AccumulatePass` sums gradients, `StepPass` lets the last micro-batch make the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import paddle

from ppema.averaging.precision import SHADOW_TYPES
from ppema.ir import Gradient, Parameter, Variable, dtype_name
from ppema.passes.accumulation import BEGINS, ENDS, Accumulation
from ppema.passes.target import Pass, TrainProgram, assign


@dataclass(frozen=True)
class AccumulatePass(Pass):
    """Sum the gradients of several runs of a train program, so that they make one optimizer step: gradient accumulation.

    With gradients g_i of the means over micro-batches i that count w_i, a step takes Σ w_i·g_i / Σ w_i. If w_i is the number of
    samples, that is the gradient of the mean over all samples of the step. Layers that mix samples, such as BatchNorm, see
    single micro-batches.

    The program must hold the forward and the backward pass, and `TrainProgram.weight`. From here on, `gradients` are the sums.
    FinitePass checks these: a non-finite gradient makes its sum non-finite. A skipped run thus skips its whole step. FinitePass
    then sets the sums to zero and restores statistics as they were at the start of the step. The caller leaves the rest of the
    step's micro-batches out. `StepPass` follows FinitePass.

    every: the number of micro-batches in a step, at least 2. The caller decides which runs begin and end a step
    (`accumulation.feed_of`), so a step may have fewer.

    Sums are float64 for float64 parameters and float32 for any other.
    """

    name: ClassVar[str] = "accumulate"
    every: int

    def apply(self, target: TrainProgram) -> Accumulation:
        assert target.weight is not None, "ForwardPass sets it"
        ir, main, startup = target.ir, target.main, target.startup
        moved = target.moved

        def state(parameter: Parameter | Variable, suffix: str, dtype: str) -> tuple[str, Variable]:
            name = f"{parameter.name}.{suffix}"
            return name, ir.create_state(main, startup, name, list(parameter.shape), dtype, 0.0)

        sums = {each.name: state(each, "accumulated", SHADOW_TYPES[dtype_name(each)]) for each, _ in target.gradients}
        before = {each.name: state(each, "before", each.dtype) for each in moved}
        total_name = f"{self.name}.weight"
        total = ir.create_state(main, startup, total_name, [], "float32", 0.0)
        with target.appending():
            begins, ends = (paddle.static.data(name, [], "bool") for name in (BEGINS, ENDS))
            rates = _in_types_of(-target.weight, [each for _, each in sums.values()])
            for parameter, gradient in target.gradients:
                _, sum_ = sums[parameter.name]
                if dtype_name(gradient) != dtype_name(sum_):
                    gradient = paddle.cast(gradient, sum_.dtype)
                ir.append_descent(sum_, gradient, rates[dtype_name(sum_)])
            assign(total + target.weight, total)
        target.gradients = [(parameter, sums[parameter.name][1]) for parameter, _ in target.gradients]
        made = target.accumulation = Accumulation(
            self.every,
            begins,
            ends,
            target.weight,
            {name: each for name, (each, _) in sums.items()},
            {name: each for name, (_, each) in sums.items()},
            total_name,
            total,
            total,
            moved,
            {name: each for name, (each, _) in before.items()},
            tuple(each for _, each in before.values()),
        )
        return made


@dataclass(frozen=True)
class BeginPass(Pass):
    """Keep the statistics from before the step, in a program for the micro-batches before the last.

    Several ranks train by two programs: this one sums gradients, and the other one, which reduces the sums over the ranks and
    makes the step, runs the last micro-batch. A non-finite gradient stays in the sums, and the other program finds it.
    """

    name: ClassVar[str] = "begin"

    def apply(self, target: TrainProgram) -> str:
        accumulation = target.accumulation
        assert accumulation is not None, "AccumulatePass comes first"
        if moved := accumulation.moved:
            copies = target.ir.early_copies(target.main, moved)
            with target.appending():
                paddle.static.nn.cond(accumulation.begins, lambda: accumulation.keep(copies), None)
        return f"keeps {len(moved)} statistics from before the step"


@dataclass(frozen=True)
class StepPass(Pass):
    """Let all later passes append to a branch that only the last micro-batch of a step takes.

    It follows AccumulatePass and FinitePass. In the branch, `gradients` are the means over the step, Σ w_i·g_i / Σ w_i. At its
    end, the sums become zero. In the first run of a step, the pass also keeps the statistics from before the step. If the
    operation of the whole step decides by itself (`FusePass`), it does all of this.
    """

    name: ClassVar[str] = "step"

    def apply(self, target: TrainProgram) -> str:
        accumulation, guard = target.accumulation, target.guard
        assert accumulation is not None, "AccumulatePass comes first"
        assert guard is not None, "FinitePass comes first"
        if target.fusion is not None and target.fusion.gated:
            return "the operation of the step acts once a step"
        if guard.moved:
            with target.appending():
                paddle.static.nn.cond(accumulation.begins, lambda: accumulation.keep(guard.copies), None)

        def step(update: Callable[[], None]) -> None:
            target.gradients = _means(target, accumulation)
            update()
            # In place, as a step of descent along itself: finite numbers become exactly zero. `clear` would allocate zeros.
            ones = _in_types_of(paddle.ones_like(accumulation.total), list(accumulation.sums.values()))
            for sum_ in accumulation.sums.values():
                target.ir.append_descent(sum_, sum_, ones[dtype_name(sum_)])
            paddle.assign(paddle.zeros_like(accumulation.total), output=accumulation.total)

        def gate(update: Callable[[], None]) -> None:
            with target.appending():
                paddle.static.nn.cond(accumulation.ends, lambda: step(update), None)

        target.gate = gate
        return "later passes act once a step"


def _means(target: TrainProgram, accumulation: Accumulation) -> list[Gradient]:
    """Σ w_i·g_i / Σ w_i for each parameter, in its type. Zero if all weights of the step are."""
    total = accumulation.divisor
    factor = paddle.ones_like(total) / paddle.where(total > 0, total, paddle.ones_like(total))
    factors = _in_types_of(factor, [sum_ for _, sum_ in target.gradients])
    means = []
    for parameter, sum_ in target.gradients:
        mean = paddle.scale(sum_, factors[dtype_name(sum_)])
        same = dtype_name(mean) == dtype_name(parameter)
        means.append((parameter, mean if same else paddle.cast(mean, parameter.dtype)))
    return means


def _in_types_of(value: Variable, variables: Sequence[Variable]) -> dict[str, Variable]:
    """`value` in each type of `variables`, by the type's name."""
    types = {dtype_name(each): each.dtype for each in variables}
    return {name: paddle.cast(value, dtype) for name, dtype in types.items()}
