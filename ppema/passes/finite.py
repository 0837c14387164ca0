"""The Finite pass: a run with a non-finite loss, gradient or statistic is skipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import paddle

from ppema.ir import NativeOp, Variable
from ppema.ir.native import why_missing
from ppema.passes.accumulation import Accumulation
from ppema.passes.guard import Guard
from ppema.passes.target import Pass, TrainProgram, assign


@dataclass(frozen=True)
class FinitePass(Pass):
    """Make a train program skip a run with a non-finite loss, gradient or statistic: all of its state stays unchanged.

    The program must already hold the forward and the backward pass. The pass appends a check of every number of the loss, of
    each gradient, and of each variable that the forward pass writes in place, such as BatchNorm's statistics. NaN and
    infinities are non-finite; 3e38 is finite. The pass sets a gate, a `cond`. Later passes append to its true branch: clipping,
    the optimizer's update and the updates of all averages.

    Statistics are checked because a single input of 1e20 makes a variance infinite while loss and gradients stay finite. The
    average of that variance would be NaN from then on.

    The forward pass has written the statistics before the check. The pass therefore copies them at the start of the run, and
    the false branch restores the copies. Arithmetic cannot restore a value from NaN. A step of several runs is skipped as a
    whole: the branch then restores the statistics from before the step, and clears the sums of gradients.

    All updates share one branch, since a branch costs as much as ten small operations. There is none if `FusePass` has found
    that the operation of the whole step can decide by itself.

    order: names of parameters in the order of the search for the first culprit; other parameters come last.
    state: name of the pass's variable. Programs that share a scope and have other gradients need other names.
    """

    name: ClassVar[str] = "finite"
    order: tuple[str, ...] = ()
    state: str = "finite.flags"

    def apply(self, target: TrainProgram) -> Guard:
        ir, main = target.ir, target.main
        place = {name: index for index, name in enumerate(self.order)}
        gradients = sorted(target.gradients, key=lambda pair: place.get(pair[0].name, len(place)))
        written, moved = target.written, target.moved
        # Whole numbers, such as counters, are always finite.
        statistics = sorted((each for each in moved if "float" in each.dtype), key=lambda each: written.index(each.name))
        flags = [len(gradients) + len(statistics) + 1]
        held = ir.create_state(main, target.startup, self.state, flags, "bool", 1.0)
        copies = tuple(ir.early_copies(main, moved))
        with target.appending():
            late = ir.after_branches(main, target.loss)
            derived = [ir.gradient_values(gradient) for _, gradient in gradients]
            moving = [each.variable for each in statistics]
            if why_missing() is None:
                results = {"each": (flags, "bool"), "every": ([], "bool")}
                each, finite = ir.append_native_op(NativeOp("ppema_finite", {"values": [*derived, *moving, late]}, results))
            else:
                if late is not target.loss:
                    # A branch may write a statistic, and each statistic has a check of its own here: each waits for the branch.
                    nothing = paddle.numel(late) * 0
                    moving = [value + paddle.cast(nothing, value.dtype) for value in moving]
                each = paddle.stack([paddle.all(paddle.isfinite(value)) for value in [*derived, *moving, late]])
                finite = paddle.all(each)
        variables = tuple(parameter.name for parameter, _ in gradients)
        names = tuple(statistic.name for statistic in statistics)
        guard = target.guard = Guard(finite, variables, names, each, held, self.state, moved, copies)

        def gate(update: Callable[[], None]) -> None:
            with target.appending():
                paddle.static.nn.cond(finite, update, lambda: _put_back(guard, target.accumulation))

        if target.fusion is None or not target.fusion.gated:
            target.gate = gate
        return guard


def _put_back(guard: Guard, accumulation: Accumulation | None) -> None:
    paddle.assign(guard.each, output=guard.held)
    if accumulation is None:
        _restore(guard, guard.copies)
        return
    accumulation.clear()
    if guard.moved:
        before = accumulation.before
        paddle.static.nn.cond(accumulation.begins, lambda: _restore(guard, guard.copies), lambda: _restore(guard, before))


def _restore(guard: Guard, copies: Sequence[Variable]) -> None:
    for parameter, copy in zip(guard.moved, copies, strict=True):
        assign(copy, parameter.variable)
