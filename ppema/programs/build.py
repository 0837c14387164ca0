"""Builds the programs of a config: startup, train, and a test program for the raw weights and for each average."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import paddle

from ppema.config import RAW, Config
from ppema.config.horizon import Horizon
from ppema.data import Field
from ppema.ir import Program, Variable, backend
from ppema.optimizers.optimizer import build_lr, build_optimizer
from ppema.optimizers.schedules import LRScheduler
from ppema.passes.accumulate import AccumulatePass, BeginPass, StepPass
from ppema.passes.accumulation import Accumulation
from ppema.passes.average import Average
from ppema.passes.ema import EmaPass, UpdatePass
from ppema.passes.finite import FinitePass
from ppema.passes.fused.fuse import FusePass
from ppema.passes.groups import GroupsPass
from ppema.passes.guard import Guard
from ppema.passes.loss_scaling.loss_scale import LossScale
from ppema.passes.norms import KeepPass, NormsPass
from ppema.passes.onednn import OnednnPass
from ppema.passes.parallel.data_parallel import ReducePass, SharePass
from ppema.passes.parallel.reduction import Reduction
from ppema.passes.placement import Placement
from ppema.passes.recalibrate import Recalibration, recalibration
from ppema.passes.switch import SwitchPass
from ppema.passes.target import Pass, PassReport, TrainProgram, apply_passes
from ppema.passes.treatment import Treatment
from ppema.programs.averages import average_passes
from ppema.programs.eval_program import Model, TestProgram, build_test_model, rewired
from ppema.programs.extra import ExtraPass, with_extra
from ppema.programs.model.mixed_precision import scaling
from ppema.programs.model.mixing import Mixing
from ppema.programs.phases import LAST, Phase, phases_of
from ppema.programs.step import BackwardPass, ForwardPass, OptimizePass
from ppema.programs.treatments import treatments_of
from ppema.ranks import ONE, Ranks
from ppema.user_code.blame import building


def training_step(
    config: Config,
    fields: Sequence[Field],
    horizon: Horizon,
    model: Model,
    lr: LRScheduler,
    onednn: bool,
    phase: Phase = LAST,
    *,
    ranks: Ranks = ONE,
    measured: bool = False,
) -> list[Pass]:
    """The passes of a training step of `phase`, in the order in which they apply. Raises ConfigError.

    ranks: those that train; measured: whether the step measures its norms.

    Passes after FinitePass append to its branch, so their operations have no effect in a skipped step. Those after StepPass
    append to a branch that only the last micro-batch of a step takes. AdjustScalePass and OnednnPass are exceptions: a skipped
    step lowers the loss scale, and oneDNN computes operations of the whole program. If FusePass has found that one operation
    can decide about the whole step, neither has a branch.
    """
    every = config.train.accumulate
    places = {name: place for place, name in model.structured.items()}
    treatments = treatments_of(config, model)
    undecayed = {name for name, each in treatments.items() if each.weight_decay == 0}
    with config.at("optimizer"):
        optimizer = build_optimizer(config.optimizer, lr, undecayed)
    with config.at("averages"):
        averages, switches = average_passes(config.averages, horizon, places, ranks)
    scale, unscale, adjust = scaling(config.runtime.precision)
    passes = [
        ForwardPass(config, fields, model, ranks.size),
        *([GroupsPass(treatments, phase.waiting)] if treatments else []),
        *([SharePass(every > 1)] if ranks.size > 1 else []),
        *scale,
        BackwardPass(optimizer, places),
        *unscale,
        *([AccumulatePass(every)] if every > 1 else []),
        *([ReducePass(ranks.size)] if ranks.size > 1 else []),
        _fuse(config, optimizer, switches, measured),
        FinitePass(tuple(model.structured.values()), phase.flags),
        *([StepPass()] if every > 1 else []),
        *([KeepPass()] if measured else []),
        OptimizePass(optimizer, config.optimizer.clip_value),
        *adjust,
        *averages,  # their variables
        UpdatePass(),
        *([NormsPass()] if measured else []),
        *switches,
        *([OnednnPass()] if onednn else []),
    ]
    return with_extra(config, passes)


def _fuse(config: Config, optimizer: Any, switches: Sequence[Pass], measured: bool) -> FusePass:
    """The pass that decides about one operation for the step. Operations after it need a branch in a skipped run."""
    own = {each.after for each in config.passes}
    needs = {
        "the norms": measured,
        "overwriting": bool(switches),
        "a pass of yours": "averages" in own,
    }
    branch = next((what for what, holds in needs.items() if holds), None)
    hindrance = "a pass of yours comes after the optimizer" if "optimize" in own else None
    return FusePass(optimizer, hindrance, branch, config.optimizer.clip_value is not None, bool(config.averages))


def micro_batch(passes: Sequence[Pass]) -> list[Pass]:
    """The passes for a micro-batch before the last of a step, from `passes`, those of a training step among ranks."""
    last = next(index for index, each in enumerate(passes) if isinstance(each, AccumulatePass))
    return [*passes[: last + 1], BeginPass(), *(each for each in passes if isinstance(each, OnednnPass))]


@dataclass(frozen=True)
class Programs:
    """All programs of a training run, or of one phase of it.

    startup: initialises the variables of all phases. train: one step.
    loss: 0-D float32, the mean over the batch, in `train`. parts: the means of the loss's parts by "loss.<name>".
    lr: the learning rate of `train`. mixing: what a run of `train` is fed for `mix`; None without it.
    model: the test program of the raw weights, and the inputs of all programs.
    guard: detects the skipped steps of `train`.
    tests: a test program for each name of weights, "raw" first, then the averages in the config's order.
    recalibrations: by average, for those whose BatchNorm statistics must be measured before evaluation.
    placement: the operations of `train` on oneDNN; None without oneDNN.
    passes: a report for each pass of `train`, in order.
    accumulation: the variables of steps with several micro-batches; None if each step is one run.
    treatments: by variable's name, for variables with another treatment than the default.
    scale: the variables of the loss scale of `train`; None without one.
    phase: the part of the run in which `train` is run. earlier: the programs of the phases before, in order. All phases share
    variables.
    reduction: the sums over ranks in `train`; None: one process trains.
    summing: the program of a micro-batch before the last of a step, where several ranks train; else None, as `train` serves.
    measured: the program of a step that measures its norms, which runs in place of `train`, with the same variables and the
    same bits; None without `train.log_norms`.
    """

    startup: Program
    train: Program
    loss: Variable
    lr: LRScheduler
    model: Model
    guard: Guard
    tests: dict[str, TestProgram]
    averages: dict[str, Average] = field(default_factory=dict)
    recalibrations: dict[str, Recalibration] = field(default_factory=dict)
    placement: Placement | None = None
    passes: tuple[PassReport, ...] = ()
    accumulation: Accumulation | None = None
    treatments: dict[str, Treatment] = field(default_factory=dict)
    parts: dict[str, Variable] = field(default_factory=dict)
    scale: LossScale | None = None
    mixing: Mixing | None = None
    phase: Phase = LAST
    earlier: tuple[Programs, ...] = ()
    measured: TrainProgram | None = None
    reduction: Reduction | None = None
    summing: TrainProgram | None = None

    def at(self, step: int) -> Programs:
        """The programs of the phase in which the step after `step` steps is. Their tests are the same in each phase."""
        for each in self.earlier:
            if each.phase.end is not None and step < each.phase.end:
                return each
        return self

    def released(self, step: int) -> int:
        """The number of variables that the step after `step` steps trains, and the step before it does not."""
        return len(self.at(step - 1).phase.waiting) - len(self.at(step).phase.waiting)

    @property
    def on_onednn(self) -> bool:
        """Whether oneDNN computes any operation of `train`."""
        return self.placement is not None and self.placement.changed

    @property
    def own_layers(self) -> bool:
        """Whether ppema's own operations compute parts of layers in `train`, with another rounding than Paddle's."""
        return self.placement is not None and self.placement.own_layers

    def without_loss(self) -> Programs:
        """The same programs, without the loss in evaluation."""
        tests = {weights: test.without_loss() for weights, test in self.tests.items()}
        return replace(self, model=replace(self.model, test=tests[RAW]), tests=tests)


def build_programs(
    config: Config, fields: Sequence[Field], horizon: Horizon, *, onednn: bool = False, ranks: Ranks = ONE
) -> Programs:
    """Build all programs of a training run.

    fields: of a sample; horizon: converts durations to steps; onednn: whether oneDNN computes convolutions; ranks: those that
    train. Raises ConfigError.
    """
    model = build_test_model(config, fields, pictures=config.board.pictures > 0)
    with config.at("lr"):
        lr = build_lr(config.lr, horizon.steps, horizon.total_steps)
    phases = phases_of(config, model, horizon)
    # The last phase comes first: its startup program is that of the run, and has the draws of a run without phases.
    last, *earlier = (_of_phase(config, fields, horizon, model, lr, onednn, phase, ranks) for phase in (LAST, *phases))
    tests = {RAW: model.test}
    for name, average in last.averages.items():
        with config.at("averages"), building(name):
            tests[name] = rewired(model.test, average.read) if average.read else model.test
    return replace(last, tests=tests, earlier=tuple(earlier))


def _of_phase(
    config: Config,
    fields: Sequence[Field],
    horizon: Horizon,
    model: Model,
    lr: LRScheduler,
    onednn: bool,
    phase: Phase,
    ranks: Ranks,
) -> Programs:
    """The programs of one phase, without those for tests of averages."""

    def train_program(*, measured: bool = False, ends: bool = True) -> TrainProgram:
        made = TrainProgram(paddle.static.Program(), paddle.static.Program())
        passes = training_step(config, fields, horizon, model, lr, onednn, phase, ranks=ranks, measured=measured)
        passes = passes if ends else micro_batch(passes)
        with backend().fresh_names(), paddle.static.program_guard(made.main, made.startup):
            apply_passes(made, passes, _blaming(config))
        return made

    target = train_program()
    assert target.guard is not None, "every training step has a FinitePass"
    recalibrations, waiting = {}, {each.name for each in target.waiting}
    for name, average in target.averages.items():
        # The statistics of a frozen BatchNorm belong to the weights that training sees.
        if moving := [each for each in average.recalibrated if each not in waiting]:
            with config.at("averages"), building(name):
                made = recalibrations[name] = recalibration(
                    model.test.program, moving, average.read, counted=any(-1 in each.shape for each in fields)
                )
            if onednn:
                OnednnPass().place(made.program, [])
    return Programs(
        target.startup,
        target.main,
        target.loss,
        lr,
        model,
        target.guard,
        {RAW: model.test},
        target.averages,
        recalibrations,
        target.placement,
        tuple(target.done),
        target.accumulation,
        target.treatments,
        target.parts,
        target.scale,
        Mixing.of(config, fields),
        phase,
        measured=train_program(measured=True) if config.train.log_norms else None,
        reduction=target.reduction,
        summing=train_program(ends=False) if ranks.size > 1 and config.train.accumulate > 1 else None,
    )


def _blaming(config: Config) -> Callable[[Pass], AbstractContextManager[object]]:
    """A context for each pass. In it, an exception becomes a ConfigError at the pass's key of `config`."""

    def within(each: Pass) -> AbstractContextManager[object]:
        stack = ExitStack()
        match each:
            case EmaPass():
                path = ("averages", each.average)
            case SwitchPass():
                path = ("averages", each.average, "overwrite_every")
            case BackwardPass() | OptimizePass():
                path = ("optimizer",)
            case ExtraPass():
                path = ("passes", each.index, "name")
            case _:
                return stack
        stack.enter_context(config.at(path[0]))
        stack.enter_context(building(*path[1:]))
        return stack

    return within
