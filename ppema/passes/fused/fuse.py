"""The Fuse pass decides whether one C++ operation makes the step, and `append_step` appends that operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import paddle

from ppema.ir import NativeOp, Variable
from ppema.ir.native import why_missing
from ppema.ir.updates.fusable import clips, same, why_unknown
from ppema.ir.updates.update import OptimizerUpdate
from ppema.passes.fused.ema_native import inputs_of
from ppema.passes.fused.fusion import Fusion
from ppema.passes.target import Pass, TrainProgram


@dataclass(frozen=True)
class FusePass(Pass):
    """Decide whether one C++ operation updates the weights and all averages, and whether a branch decides about a skipped run.

    The program must hold the forward and the backward pass. FinitePass follows. With a fusion, `OptimizePass` takes Paddle's
    operations for the update away again, and `UpdatePass` appends ppema's, which has the same variables and the same bits.

    optimizer: of the config. hindrance: why there is no fusion, in a few words; None: the optimizer and its gradients decide.
    branch: what needs a branch that a skipped run does not take, in a few words; None: nothing that FusePass can not see does.
    clip_value: whether OptimizePass clips by value. averages: whether there are any.
    """

    name: ClassVar[str] = "fuse"
    optimizer: Any
    hindrance: str | None = None
    branch: str | None = None
    clip_value: bool = False
    averages: bool = True

    def apply(self, target: TrainProgram) -> str:
        """Set `target.fusion`."""
        reason = self.hindrance or _changed(target, self.optimizer) or why_missing()
        reason = reason or why_unknown(self.optimizer, target.gradients)
        branch = self.branch
        if target.accumulation is not None and (self.clip_value or clips(self.optimizer)):
            # A clip takes the means over the runs of a step, which only its last run computes.
            branch = branch or "clipping after accumulation"
        if branch is not None and not self.averages and isinstance(self.optimizer, paddle.optimizer.SGD):
            reason = reason or "SGD has no state, and there is no average"
        if reason is not None:
            return f"no: {reason}"
        target.fusion = Fusion(gated=branch is None)
        where = "without a branch" if branch is None else f"in a branch, for {branch}"
        return f"optimizer and averages in one C++ operation, {where}"


def _changed(target: TrainProgram, optimizer: Any) -> str | None:
    """What a pass of the user has changed, so that a step is not one update by `optimizer` any more. None: nothing."""
    if target.when is not None:
        return "not every run is a step"
    if not isinstance(target.minimize, OptimizerUpdate) or target.minimize.optimizer is not optimizer:
        return "a pass of yours replaces the update"
    trained = {name for operation in target.ir.operations(target.main) for name in operation.trains}
    twice = sorted(trained & {parameter.name for parameter, _ in target.gradients})
    return f"an operation before the optimizer trains {twice[0]}" if twice else None


def append_step(target: TrainProgram) -> str:
    """Append the operation that makes the step. Requires `target.fusion`, with the optimizer's operations."""
    fusion, guard = target.fusion, target.guard
    assert fusion is not None, "FusePass comes first"
    updates = fusion.updates
    with target.appending():
        weights = [each.parameter for each in updates]
        # Whether a run is finite is known after the model's branches.
        averages = inputs_of(target.ir, target.main, list(target.averages.values()), None, weights, late=fusion.gated)
    rates, rate_of = _places([each.rate for each in updates])
    factors, factor_of = _places([each.factor for each in updates])
    flags, moved, checks = [], [], []
    accumulation = target.accumulation if fusion.gated else None
    if fusion.gated:
        assert guard is not None, "FinitePass comes first"
        flags, moved = [guard.held], [each.variable for each in guard.moved]
        checks = [guard.finite, guard.each, *guard.copies]
    sums: list[Variable] = []
    if accumulation is not None:
        assert all(each.factor is None for each in updates), "a clip takes the means of gradients"
        sums = [*accumulation.before, accumulation.total, *(accumulation.sums[each.parameter.name] for each in updates)]
        checks += [accumulation.begins, accumulation.ends, accumulation.divisor]
    others = averages.values[len(weights) :]
    accumulators = [each for kind in zip(*(each.accumulators for each in updates), strict=True) for each in kind]
    inputs = {
        "param": weights,
        "grad": [each.gradient for each in updates],
        "state": [*accumulators, *flags, *moved, *sums, *averages.state],
        "given": [*rates, *factors, *checks, *others, *averages.scalars],
    }
    attributes = {
        "rule": updates[0].rule,
        "numbers": [number for each in updates for number in each.numbers],
        "layout": [
            *(int(fusion.gated), int(accumulation is not None), len(rates), len(factors), len(moved), len(others)),
            *(index for pair in zip(rate_of, factor_of, strict=True) for index in pair),
            *averages.layout,
        ],
        "decays": list(averages.decays),
    }
    with target.appending():
        target.ir.append_native_op(NativeOp("ppema_step", inputs, attributes=attributes, written=("param", "state")))
    return f"{len(target.averages)} in the operation of the optimizer"


def _places(variables: Sequence[Variable | None]) -> tuple[list[Variable], list[int]]:
    """The different ones of `variables`, and for each of these its index among them; -1 for None."""
    found: list[Variable] = []
    indices = []
    for each in variables:
        index = next((index for index, other in enumerate(found) if same(each, other)), -1) if each is not None else -1
        if each is not None and index < 0:
            index = len(found)
            found.append(each)
        indices.append(index)
    return found, indices
