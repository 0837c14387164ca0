"""Averages and guards for programs that a test builds by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from ppema.averaging.rule import Rule
from ppema.ir import Parameter, Program, Variable
from ppema.passes.accumulate import AccumulatePass, StepPass
from ppema.passes.average import Average
from ppema.passes.ema import UpdatePass, declare
from ppema.passes.finite import FinitePass
from ppema.passes.guard import Guard
from ppema.passes.parallel.data_parallel import ReducePass, SharePass
from ppema.passes.switch import SwitchPass
from ppema.passes.target import Pass, TrainProgram, apply_passes
from ppema.programs.step import BackwardPass, OptimizePass
from ppema.ranks import ONE, Ranks


def appended(
    main: Program,
    startup: Program,
    rule: Rule,
    parameters: Sequence[Parameter] | None = None,
    *,
    name: str = "ema",
    when: Variable | None = None,
    switch: SwitchPass | None = None,
    ranks: Ranks = ONE,
) -> Average:
    """Append one average of `parameters` (None: all), its update and, if given, the pass that overwrites weights by it.

    ranks: those that share the average.
    """
    target = TrainProgram(main, startup, when=when)
    declare(target, name, rule, target.parameters if parameters is None else parameters, ranks=ranks)
    apply_passes(target, [UpdatePass(), *([switch] if switch else [])])
    return target.averages[name]


def guarded_by(
    main: Program,
    startup: Program,
    loss: Variable,
    optimizer: Any,
    then: Sequence[Pass] = (),
    order: Sequence[str] = (),
    every: int = 1,
    ranks: int = 1,
) -> Guard:
    """Append the gradients of `loss` and, behind a guard, the optimizer's update and the passes `then`.

    every: the number of micro-batches in a step; each counts the same. ranks: the number of processes that train.
    """
    target = TrainProgram(main, startup, loss, weight=paddle.full([], 1.0) if every > 1 else None)
    gather, step = ([AccumulatePass(every)], [StepPass()]) if every > 1 else ([], [])
    optimize = OptimizePass(optimizer)
    share, reduce = ([SharePass(every > 1)], [ReducePass(ranks)]) if ranks > 1 else ([], [])
    check = FinitePass(tuple(order))
    apply_passes(target, [*share, BackwardPass(optimizer), *gather, *reduce, check, *step, optimize, *then])
    assert target.guard is not None
    return target.guard
