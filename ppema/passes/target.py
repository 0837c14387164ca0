"""`TrainProgram`, a train program under construction; `Pass`, a change of it; and `apply_passes`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import paddle

from ppema.ir import IR, Gradient, Parameter, Program, Variable, backend
from ppema.passes.accumulation import Accumulation
from ppema.passes.average import Average
from ppema.passes.fused.fusion import Fusion
from ppema.passes.guard import Guard
from ppema.passes.loss_scaling.loss_scale import LossScale
from ppema.passes.parallel.reduction import RankPlace, Reduction
from ppema.passes.placement import Placement
from ppema.passes.step_norms import StepNorms
from ppema.passes.treatment import Treatment

Gate = Callable[[Callable[[], None]], None]


@dataclass(frozen=True)
class PassReport:
    """The result of one pass: its name, the number of operations that it added to the program, and its result in words."""

    name: str
    operations: int
    result: str


@dataclass
class TrainProgram:
    """A train program under construction. Each pass reads and sets the fields that concern it.

    main, startup: the programs.
    loss: 0-D float32, the mean over the batch.
    parts: the means of the loss's parts by "loss.<name>", 0-D float32, for the log. Empty for a loss without parts.
    weight: 0-D float32, what a run counts among the micro-batches of a step: the number of its samples, or the sum of their
    weights. None: nothing needs it.
    weighted: whether the loss has weights of its own, such as those of classes.
    place: the inputs of a rank, its share of the batch among them. None: one process trains.
    reduction: the sums over ranks. None: one process trains.
    scaled: the loss times its scale, whose gradients are built. None: those of `loss` are.
    gradients: (parameter, gradient) in the optimizer's order.
    minimize: appends the optimizer's update by given gradients.
    when: bool of one element, True in a run of `main` that is an optimizer step. None: every run is a step.
    guard: reports whether a run was skipped. None: no run is skipped.
    gate: set by a pass whose branch encloses all that later passes append. It is called with a function that appends it.
    fusion: how one C++ operation makes the step. None: Paddle's optimizer makes it.
    averages: by name, in the order of their addition.
    norms: the variables of the step's norms. None: they are not measured.
    accumulation: the variables of steps that take several runs. None: each step is one run.
    scale: the variables of the loss scale. None: the loss is not scaled.
    placement: the operations that oneDNN computes. None: the oneDNN pass was not applied.
    treatments: by variable's name, for variables that are trained with settings of their own.
    waiting: variables that `main` keeps and the program of a later phase of the run changes; `trainable` is as it is then.
    done: a report for each applied pass, in order.
    """

    main: Program
    startup: Program
    loss: Variable | None = None
    parts: dict[str, Variable] = field(default_factory=dict)
    weight: Variable | None = None
    weighted: bool = False
    place: RankPlace | None = None
    reduction: Reduction | None = None
    scaled: Variable | None = None
    gradients: list[Gradient] = field(default_factory=list)
    minimize: Callable[[Sequence[Gradient]], None] | None = None
    when: Variable | None = None
    guard: Guard | None = None
    gate: Gate | None = None
    fusion: Fusion | None = None
    averages: dict[str, Average] = field(default_factory=dict)
    norms: StepNorms | None = None
    accumulation: Accumulation | None = None
    scale: LossScale | None = None
    placement: Placement | None = None
    treatments: dict[str, Treatment] = field(default_factory=dict)
    waiting: tuple[Parameter, ...] = ()
    done: list[PassReport] = field(default_factory=list)

    @property
    def ir(self) -> IR:
        """The seam to Paddle's intermediate representation."""
        return backend()

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters and statistics of `main`, in the order of their names."""
        return self.ir.parameters(self.main)

    @property
    def moved(self) -> tuple[Parameter, ...]:
        """The parameters and statistics that `main` writes so far, in the order of their names."""
        written = self.written
        return tuple(parameter for parameter in self.parameters if parameter.name in written)

    @property
    def written(self) -> list[str]:
        """The names of the variables that `main` writes so far, in the order of the writes."""
        return list(dict.fromkeys(name for op in self.ir.operations(self.main) for name in op.writes))

    @contextmanager
    def appending(self) -> Iterator[None]:
        """A context in which Paddle's functions append to `main`, as part of the update of weights and not of the model."""
        with paddle.static.program_guard(self.main, self.startup), self.ir.update_section(self.main):
            yield


class Pass(ABC):
    """A change of a train program: a frozen dataclass of settings, applicable to any number of programs.

    name: its name in the list of passes that `show` prints.
    whole: whether it needs the complete program, outside of any gate.
    """

    name: ClassVar[str]
    whole: ClassVar[bool] = False

    @abstractmethod
    def apply(self, target: TrainProgram) -> object:
        """Change `target` and return the result, whose `str` is its description in the list of passes. None: no description."""


Within = Callable[[Pass], AbstractContextManager[object]]


def apply_passes(target: TrainProgram, passes: Sequence[Pass], within: Within = nullcontext) -> None:
    """Apply `passes` in order. Passes after one that sets a gate append to the gate's branch, except the `whole` ones.

    within: the context in which each pass is applied.
    """
    for index, each in enumerate(passes):
        before = target.ir.size(target.main)
        with within(each):
            made = each.apply(target)
        done = PassReport(each.name, target.ir.size(target.main) - before, "" if made is None else str(made))
        target.done.append(done)
        if target.gate is not None:
            gate, target.gate = target.gate, None
            inside = [late for late in passes[index + 1 :] if not late.whole]
            gate(partial(apply_passes, target, inside, within))
            apply_passes(target, [late for late in passes[index + 1 :] if late.whole], within)
            return


def assign(value: Variable, target: Variable) -> None:
    """Append target = value, and keep the target's `stop_gradient`, which Paddle would set to that of the value."""
    before = target.stop_gradient
    paddle.assign(value, output=target)
    target.stop_gradient = before
