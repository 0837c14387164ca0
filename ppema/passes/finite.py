"""The Finite pass: a run whose loss, gradients or statistics are not all finite changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import paddle

from ppema.ir.native import why_missing
from ppema.passes.guard import Guard
from ppema.passes.switch import assign
from ppema.passes.target import Pass, TrainProgram


@dataclass(frozen=True)
class FinitePass(Pass):
    """Make a train program leave its whole state as it was in a run whose loss, gradients or statistics are not all finite.

    Takes a program that holds the forward and the backward pass. Appends whether each number of the loss, of each gradient, and
    of what the forward pass writes in place, as BatchNorm its statistics, is finite (NaN and infinities are not, 3e38 is). Sets
    a gate: the `cond` in whose one branch later passes append what such a run leaves out, the optimizer's update, clipping
    included, and those of all averages.

    One number of 1e20 makes a variance infinite, and leaves loss and gradients finite; an average of it would be NaN for good.

    Statistics are written by then. So copies are taken before, and the other branch puts them back: where they became NaN, no
    arithmetic makes the old values again.

    There is one branch for all because a branch costs as much as ten small operations.

    order: the parameters' names in the order in which the first culprit is looked for; others come last.
    """

    name: ClassVar[str] = "finite"
    order: tuple[str, ...] = ()

    def apply(self, target: TrainProgram) -> Guard:
        ir, main = target.ir, target.main
        place = {name: index for index, name in enumerate(self.order)}
        gradients = sorted(target.gradients, key=lambda pair: place.get(pair[0].name, len(place)))
        written = target.written
        moved = tuple(parameter for parameter in target.parameters if parameter.name in written)
        # Whole numbers, such as counters, are always finite.
        statistics = sorted((each for each in moved if "float" in each.dtype), key=lambda each: written.index(each.name))
        state_name = f"{self.name}.flags"
        flags = [len(gradients) + len(statistics) + 1]
        held = ir.create_state(main, target.startup, state_name, flags, "bool", 1.0)
        copies = tuple(ir.early_copies(main, moved))
        with target.appending():
            late = ir.after_branches(main, target.loss)
            derived = [ir.gradient_values(gradient) for _, gradient in gradients]
            moving = [each.variable for each in statistics]
            if why_missing() is None:
                each, finite = ir.append_finite_op([*derived, *moving, late])
            else:
                if late is not target.loss:
                    # What a branch writes is read by operations of its own here, and each of them has to wait for the branch.
                    nothing = paddle.numel(late) * 0
                    moving = [value + paddle.cast(nothing, value.dtype) for value in moving]
                each = paddle.stack([paddle.all(paddle.isfinite(value)) for value in [*derived, *moving, late]])
                finite = paddle.all(each)
        variables = tuple(parameter.name for parameter, _ in gradients)
        names = tuple(statistic.name for statistic in statistics)
        guard = target.guard = Guard(finite, variables, names, each, held, state_name, moved, copies)

        def gate(update: Callable[[], None]) -> None:
            with target.appending():
                paddle.static.nn.cond(finite, update, lambda: _put_back(guard))

        target.gate = gate
        return guard


def _put_back(guard: Guard) -> None:
    paddle.assign(guard.each, output=guard.held)
    for parameter, copy in zip(guard.moved, guard.copies, strict=True):
        assign(copy, parameter.variable)
