"""Measures what the ranks of a run exchange in a step, and which share of the step that takes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import paddle

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.state import BEGINNING
from ppema.distributed.world import ALONE
from ppema.errors import ConfigError, TrainingError
from ppema.ir import backend
from ppema.passes.parallel.data_parallel import ReducePass
from ppema.passes.parallel.reduction import Reduction
from ppema.passes.target import TrainProgram, apply_passes
from ppema.programs.build import build_programs, training_step
from ppema.programs.device import place_of
from ppema.programs.executor import Executor
from ppema.programs.start import initialise
from ppema.ranks import Ranks
from ppema.training.setup import TrainingRun
from ppema.training.stepper import RankStepper, Stepper

_ROUNDS = 5
_SECONDS = 0.2  # the least time of the steps of a round


@dataclass(frozen=True)
class Traffic:
    """What the ranks of a run exchange. reduction: the sums of a step; refused: why several ranks can not train it, if so.

    whole, alone: seconds of a step with the sums over ranks, and without them; None if one process trains.
    """

    reduction: Reduction | None = None
    refused: str = ""
    whole: float | None = None
    alone: float | None = None


def traffic_of(run: TrainingRun) -> Traffic:
    """What the ranks of `run` exchange in a step. Several ranks measure it: each of them calls this, in the scope of the run.

    The steps that are measured change the variables of the scope. Raises TrainingError, or PeerError if another rank fails.
    """
    if run.programs.reduction is not None:
        whole, alone = _measured(run)
        return Traffic(run.programs.reduction, "", whole, alone)
    try:
        return Traffic(_of_two(run))
    except ConfigError as error:
        return Traffic(refused=str(error))


def _of_two(run: TrainingRun) -> Reduction:
    """The sums over two ranks, which train the same config. Their size does not depend on the number of ranks."""
    made = TrainProgram(paddle.static.Program(), paddle.static.Program())
    programs = run.programs
    config, fields, model = run.config, run.train_loader.fields, programs.model
    passes = training_step(config, fields, run.horizon, model, programs.lr, False, ranks=Ranks(0, 2, 0, 2))
    last = next(index for index, each in enumerate(passes) if isinstance(each, ReducePass))
    with backend().fresh_names(), paddle.static.program_guard(made.main, made.startup):
        apply_passes(made, passes[: last + 1])
    assert made.reduction is not None, "the program of a rank has a ReducePass"
    return made.reduction


def _measured(run: TrainingRun) -> tuple[float, float]:
    """Seconds of a step with the sums over ranks, and without them, on the slowest rank. Medians of rounds in turn."""
    world, without = run.world, _without_sums(run)
    with closing(run.train_loader.epoch(0)) as batches:
        batch = next(batches)
    # No rate is due after the last step.
    state = replace(BEGINNING, step=run.horizon.total_steps - 1)
    together = RankStepper(run, Begun(), lambda: False), run.scope
    apart = Stepper(without, Begun()), without.scope

    def one(side: tuple[Stepper, Any]) -> None:
        stepper, step = side[0], None
        if side is apart:
            world.enter("measuring a step without the sums", "slow")
        with paddle.static.scope_guard(side[1]):
            while step is None:
                step = stepper.run(batch, state)
        if step.skipped is not None:
            raise TrainingError(f"a step that was to be measured was skipped: {step.skipped}")

    for side in (together, apart, together):
        world.meet("the steps that show measures")
        one(side)
    count = math.ceil(_SECONDS / _timed(partial(one, together), 1))
    count = int(world.from_first(str(count).encode(), "the number of steps that show measures"))
    rounds: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        found = []
        for side in (together, apart):
            world.meet("the steps that show measures")
            one(side)
            found.append(_timed(partial(one, side), count))
        everywhere = [json.loads(each) for each in world.gather(json.dumps(found).encode(), "the times of steps")]
        rounds.append((max(whole for whole, _ in everywhere), max(alone for _, alone in everywhere)))
    return median(whole for whole, _ in rounds), median(alone for _, alone in rounds)


def _without_sums(run: TrainingRun) -> TrainingRun:
    """The run of one process on this rank's part of each batch, with variables of its own."""
    programs = build_programs(run.config, run.train_loader.fields, run.horizon, onednn=run.onednn.used)
    own = paddle.static.Scope()
    executor = Executor(place_of(run.config.runtime.device), own, plain=run.config.runtime.executor == "plain")
    with paddle.static.scope_guard(own):
        initialise(run.config, executor, programs.startup)
    return replace(run, programs=programs, world=ALONE, scope=own, executor=executor)


def _timed(work: Callable[[], None], count: int) -> float:
    """The mean seconds of a call."""
    begin = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - begin) / count
