"""An average in its train program, and checks of everything that is built there after it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paddle

from ppema.ema.beginning import Beginning
from ppema.ema.foreign import statistics_of_trained
from ppema.errors import AverageError, listed
from ppema.ir import Operation, Parameter, Program, Variable, backend
from ppema.passes.average import Average, shadow_name
from ppema.passes.ema import EmaPass, UpdatePass
from ppema.passes.recalibrate import moving_statistics
from ppema.passes.select import Selection
from ppema.passes.switch import SwitchPass
from ppema.passes.target import TrainProgram, apply_passes
from ppema.passes.trained import check_trained


@dataclass
class Attached:
    """An average of the train program `main`. parameters: those of `main` when the average was appended."""

    main: Program
    average: Average
    parameters: list[Parameter]
    selection: Selection
    _checked: int = field(default=0, init=False)  # number of operations of `main` at the last successful check
    _beginning: Beginning | None = field(default=None, init=False)

    def check(self, where: Any) -> None:
        """Raise AverageError if weights, or updates of weights, were built after the average and are not part of it.

        Warns if the average in the scope `where` continues that of an earlier program. The check takes some microseconds if the
        program has not grown since the last one.
        """
        if self._beginning is not None:
            self._beginning.check(where)
        size = backend().size(self.main)
        if size == self._checked:
            return
        operations = list(backend().operations(self.main))
        self._check_updates(operations)
        self._check_parameters(operations)
        self._checked = size

    def _check_updates(self, operations: Sequence[Operation]) -> None:
        average = self.average
        own = max(index for index, op in enumerate(operations) if average.count in op.writes)
        followed = {*average.followed, *average.master_of.values()}
        for op in operations[own + 1 :]:
            late = followed.intersection(op.writes)
            if late and not _ours_in_a_branch(op):
                raise AverageError(
                    f"{op.source or 'the program'}: '{op.kind}' changes {listed(sorted(late))} after update() of the average "
                    f"{average.name!r}, which would be a step behind: call update() after the last minimize"
                )

    def _check_parameters(self, operations: Sequence[Operation]) -> None:
        average, parameters = self.average, backend().parameters(self.main)
        choices = self.selection.choose(parameters, _written(operations), moving_statistics(self.main), {})
        missed = sorted({each.parameter.name for each in choices if each.how != "leave"}.difference(average.shadow_of))
        if missed:
            raise AverageError(
                f"update() of the average {average.name!r} did not cover {listed(missed)}, which came into training after it: "
                "call update() when the model is complete, after the last minimize"
            )

    def begin(self, startup: Program) -> None:
        """Warn if running `startup` does not begin the average: see `Beginning`."""
        self._beginning = Beginning(self.main, startup, self.average)


def attach(added: EmaPass, switch: SwitchPass | None, when: Variable | None) -> Attached:
    """Append the update of a new average to the default main program, and its initial values to the default startup program.

    switch: the pass that overwrites weights, if any. when: as `TrainProgram.when`.
    Raises AverageError and warns as `ExponentialMovingAverage.update` does.
    """
    target = TrainProgram(paddle.static.default_main_program(), paddle.static.default_startup_program(), when=when)
    parameters = target.parameters
    if not parameters:
        raise AverageError("the default main program has no parameters to average: build the model first")
    check_trained(target.main, when)
    apply_passes(target, [added, UpdatePass(), *([switch] if switch else [])])
    return Attached(target.main, target.averages[added.average], parameters, added.selection)


def names_to_be(program: Program, selection: Selection, name: str) -> dict[str, str]:
    """The shadows' names by parameter's name, as an average `name` has them in a train program of the model in `program`.

    They cover the variables that change in training: trainable parameters, and the statistics of BatchNorm layers with a
    trainable weight or bias. Raises AverageError if `program` has no parameters.
    """
    parameters = backend().parameters(program)
    if not parameters:
        raise AverageError("the default main program has no parameters: build the model first")
    statistics = statistics_of_trained(program, {each.name for each in parameters if not each.trainable})
    choices = selection.choose(parameters, statistics, statistics, {})
    return {each.parameter.name: shadow_name(each.parameter.name, name) for each in choices if each.how != "leave"}


def _ours_in_a_branch(operation: Operation) -> bool:
    """Whether ppema itself built `operation` in a branch, as the switch pass does."""
    return operation.depth > 0 and operation.source.startswith(f"{Path(__file__).parents[1]}{os.sep}")


def _written(operations: Iterable[Operation]) -> set[str]:
    return {name for op in operations for name in op.writes}
