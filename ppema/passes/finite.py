"""The Finite pass: a run whose loss, gradients or statistics are not all finite changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import paddle

from ppema.ir import IR, Gradient, Parameter, Program, Variable
from ppema.ir.native import why_missing
from ppema.passes.switch import assign


@dataclass(frozen=True)
class Guard:
    """What a train program tells of each of its runs, and what a run that changes nothing puts back.

    finite: the variable, 0-D bool, that is False in a run which changes nothing; variables: the names of the parameters that
    the gradients are of [n]; statistics: the names of the floating-point variables that the forward pass writes [m], in the
    order in which it does; each: the variable that says of each gradient, then of each statistic, and at its end of the loss,
    whether it is finite, [n + m + 1] bool; held: the persistable variable that holds this of the last run which changed
    nothing; state_name: its name; copies: of the parameters `moved`, which the forward pass writes, as the run found them.
    """

    finite: Variable
    variables: tuple[str, ...]
    statistics: tuple[str, ...]
    each: Variable
    held: Variable
    state_name: str
    moved: tuple[Parameter, ...]
    copies: tuple[Variable, ...]

    def culprit(self, flags: np.ndarray) -> tuple[Literal["gradient", "statistic"], str] | None:
        """The first variable whose gradient was not finite, or else the first statistic; None where that was the loss alone.

        flags: as they are held.
        """
        gradients, statistics = flags[: len(self.variables)], flags[len(self.variables) : -1]
        for name, finite in zip(self.variables, gradients, strict=True):
            if not finite:
                return "gradient", name
        for name, finite in zip(self.statistics, statistics, strict=True):
            if not finite:
                return "statistic", name
        return None


@dataclass(frozen=True)
class FinitePass:
    """Make a train program leave its whole state as it was in a run whose loss, gradients or statistics are not all finite.

    Takes a program that holds the forward and the backward pass: `check` appends whether each number of the loss, of each
    gradient as the backward pass left it, and of what the forward pass writes in place, as BatchNorm its statistics, is finite
    (NaN and infinities are not, 3e38 is), and `gate` the `cond` in whose one branch everything is that such a run leaves out:
    the optimizer's update, clipping included, and those of all averages.

    One number of 1e20 makes a variance infinite, and leaves loss and gradients finite; an average of it would be NaN for good.

    Statistics are written by then. So copies are taken before, and the other branch puts them back: where they became NaN, no
    arithmetic makes the old values again.

    It is one branch for all because the branch is what costs, as much as ten small operations or so.
    """

    name: str = "finite"

    def check(self, ir: IR, main: Program, startup: Program, loss: Variable, gradients: Sequence[Gradient]) -> Guard:
        """Append to `main`, and the initial flags to `startup`. loss: 0-D; gradients: in the order of `Guard.culprit`."""
        written = list(dict.fromkeys(name for op in ir.operations(main) for name in op.writes))
        moved = tuple(parameter for parameter in ir.parameters(main) if parameter.name in written)
        # Whole numbers, such as counters, are always finite.
        statistics = sorted((each for each in moved if "float" in each.dtype), key=lambda each: written.index(each.name))
        state_name = f"{self.name}.flags"
        held = ir.create_state(main, startup, state_name, [len(gradients) + len(statistics) + 1], "bool", 1.0)
        copies = tuple(ir.early_copies(main, moved))
        with paddle.static.program_guard(main, startup), ir.update_section(main):
            late = ir.after_branches(main, loss)
            derived = [ir.gradient_values(gradient) for _, gradient in gradients]
            moving = [each.variable for each in statistics]
            if why_missing() is None:
                each, finite = ir.append_finite_op([*derived, *moving, late])
            else:
                if late is not loss:
                    # What a branch writes is read by operations of its own here, and each of them has to wait for the branch.
                    nothing = paddle.numel(late) * 0
                    moving = [value + paddle.cast(nothing, value.dtype) for value in moving]
                each = paddle.stack([paddle.all(paddle.isfinite(value)) for value in [*derived, *moving, late]])
                finite = paddle.all(each)
        variables = tuple(parameter.name for parameter, _ in gradients)
        names = tuple(statistic.name for statistic in statistics)
        return Guard(finite, variables, names, each, held, state_name, moved, copies)

    def gate(self, ir: IR, main: Program, startup: Program, guard: Guard, update: Callable[[], None]) -> None:
        """Append the branches. update: appends to the current block of `main`, and creates its state in the outermost one."""

        def put_back() -> None:
            paddle.assign(guard.each, output=guard.held)
            for parameter, copy in zip(guard.moved, guard.copies, strict=True):
                assign(copy, parameter.variable)

        with paddle.static.program_guard(main, startup), ir.update_section(main):
            paddle.static.nn.cond(guard.finite, update, put_back)
