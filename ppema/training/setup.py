"""Prepares a training run from a config: data, programs, an executor and a scope of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import paddle

from ppema.averaging.decay import MOST_STEPS
from ppema.checkpoint.begun import MicroBatches
from ppema.checkpoint.best import check_monitors
from ppema.checkpoint.checkpoint import BEGUN, Checkpoint, check_fits
from ppema.checkpoint.manifest import SavedAverage
from ppema.checkpoint.paths import output_of
from ppema.checkpoint.store import check_pointers
from ppema.checkpoint.tensors import Arrays
from ppema.config import RAW, Config
from ppema.config.horizon import Horizon
from ppema.data import Loader
from ppema.distributed.sharded import ShardedAverages
from ppema.distributed.world import World, joined
from ppema.ema.saved import read
from ppema.environment import choose_threads, keep_freed_memory
from ppema.errors import CheckpointError, ConfigError
from ppema.evaluation.recalibrator import Recalibrator
from ppema.evaluation.trial import figure_names, loss_is_a_mean, try_out
from ppema.ir import backend, scope
from ppema.optimizers.schedules import ReduceOnPlateau
from ppema.passes.average import Average
from ppema.passes.recalibrate import Recalibration
from ppema.programs.build import Programs, build_programs
from ppema.programs.device import Onednn, check_precision, onednn_of, place_of
from ppema.programs.eval_program import TestProgram, on_onednn
from ppema.programs.executor import Executor
from ppema.programs.loaders import eval_loader, train_loader
from ppema.programs.model.known_classes import check_same_classes, with_classes
from ppema.programs.model.normalization import measured
from ppema.programs.model.shared_config import completed
from ppema.programs.start import initialise, seed_everything
from ppema.training.checks.lone_samples import warn_of_lone_samples
from ppema.values import number
from ppema.weights.put import put


@dataclass(frozen=True)
class TrainingRun:
    """A training run before its first step. The scope has the initial values.

    train_loader: of this rank's part of each batch; micro_batches: which batches make a step; recalibrator: measures BatchNorm
    statistics of the averages with the policy "recalibrate"; onednn: whether oneDNN computes convolutions; tests: the test
    programs of the weights in `train.evaluate`, which are those of `programs.tests` or copies of them on oneDNN; world: the
    processes that train; shards: the averages that they share.
    """

    config: Config
    horizon: Horizon
    micro_batches: MicroBatches
    train_loader: Loader
    eval_loader: Loader
    programs: Programs
    executor: Executor
    scope: Any
    recalibrator: Recalibrator
    onednn: Onednn
    tests: dict[str, TestProgram]
    world: World
    shards: ShardedAverages

    @property
    def kernels(self) -> str:
        """In words: the operations of the train program on oneDNN, or the reason for none."""
        placement = self.programs.placement
        return f"not used: {self.onednn.why}" if placement is None else str(placement)

    def close(self) -> None:
        """Close the loaders, and free the memory of activations."""
        self.train_loader.close()
        self.eval_loader.close()
        self.recalibrator.close()
        self.executor.close()
        self.world.close()

    def enter(self, programs: Programs) -> None:
        """Prepare for the steps of a phase, whose programs are given. The memory that other phases keep is freed."""
        self.executor.close()
        self.recalibrate_by(programs)
        if self.programs.accumulation is not None and programs.accumulation is not None:
            # A phase keeps no copy of a statistic that is frozen in it, but a checkpoint within a step holds a copy of each.
            kept, here = self.programs.accumulation.before_of, programs.accumulation.before_of
            frozen = [name for name in kept if name not in here]
            scope.put(self.scope, {kept[name]: scope.get(self.scope, name) for name in frozen})

    def recalibrate_by(self, programs: Programs) -> None:
        """Recalibrate averages as in the phase whose programs are given: statistics that are frozen in it are not measured."""
        self.recalibrator.use(_recalibrations(self.config, programs))

    def state_parts(self) -> dict[str, list[str]]:
        """The names of the variables in each part of a checkpoint: "raw", "optimizer", "average-<name>"."""
        raw = [parameter.name for parameter in self.programs.model.parameters]
        averages = {f"average-{name}": average.state_names for name, average in self.programs.averages.items()}
        accumulation = self.programs.accumulation
        # The guard's variable describes one step and is read right after it. Sums of gradients live within a step.
        passing = {self.programs.guard.state_name, *(accumulation.state_names if accumulation is not None else ())}
        elsewhere = {*raw, *(name for names in averages.values() for name in names), *passing}
        optimizer = [name for name in backend().state_names(self.programs.train) if name not in elsewhere]
        return {RAW: raw, "optimizer": optimizer, **averages}

    def variables(self, *, begun: bool = False) -> dict[str, dict[str, str]]:
        """For each part of a checkpoint, the variables that hold its arrays, by the arrays' names.

        begun: a step of several micro-batches has begun. The checkpoint then has the state before that step, and the part
        BEGUN: the sums of gradients, and the present values of what the forward pass writes, such as BatchNorm's statistics.
        """
        parts = {part: {name: name for name in names} for part, names in self.state_parts().items()}
        if begun:
            accumulation = self.programs.accumulation
            assert accumulation is not None, "no step takes several micro-batches"
            parts[RAW] |= accumulation.before_of
            present = [*accumulation.sum_of.values(), accumulation.total_name, *accumulation.before_of]
            parts[BEGUN] = {name: name for name in present}
        return parts

    def read(self) -> dict[str, dict[str, np.ndarray]]:
        """A copy of the whole state between steps, without what `shards` holds: for each part its arrays by name."""
        parts, shared = self.state_parts(), self.shards.variables
        return {part: read(self.scope, [name for name in names if name not in shared]) for part, names in parts.items()}

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the run's state by a checkpoint's, completely or not at all. `shards` keeps what it has to hand out.

        Raises CheckpointError if the checkpoint is damaged or of another model.
        """
        wanted = self.variables(begun=checkpoint.manifest.begun is not None)
        found = {part: checkpoint.arrays(part) for part in wanted}
        for name, average in self.programs.averages.items():
            saved = checkpoint.manifest.averages.get(name)
            if saved is None:
                raise CheckpointError(f"{checkpoint.path}: damaged: its manifest lacks the average {name!r}")
            found[f"average-{name}"] = _renamed(found[f"average-{name}"], saved, average)
        for part, held in wanted.items():
            check_fits(checkpoint.path, found[part], list(held))
        arrays = {held[name]: array for part, held in wanted.items() for name, array in found[part].items()}
        put(self.scope, checkpoint.path, self.shards.keep(arrays))


def prepare_training(config: Config, complete: Callable[[Config], Config] | None = None) -> TrainingRun:
    """Open the data, build the programs, run the startup program in a new scope, and try the model on a few samples.

    complete: adds to the config what the run's folder keeps of it; only the first rank calls it. Writes nothing. Raises
    ConfigError, DataError or SetupError.
    """
    choose_threads(config.runtime.threads)
    output_of(config)
    place = place_of(config.runtime.device)
    check_precision(config, place)
    world = joined(place, config.runtime.rank_patience)
    with world.answering():
        return _prepared(config if complete is None else completed(world, config, complete), place, world)


def _prepared(config: Config, place: Any, world: World) -> TrainingRun:
    """As `prepare_training`, among the ranks of `world`."""
    onednn = onednn_of(config, place)
    if onednn.used:
        keep_freed_memory()
    seed_everything(config.seed)
    evaluated = eval_loader(config)
    trained = train_loader(config, evaluated)
    check_same_classes(config, trained, evaluated)
    config = measured(config, trained)
    every = config.train.accumulate
    if every > trained.steps_per_epoch:
        with config.at("train"):
            raise ConfigError.of(f"{every} micro-batches are more than the {trained.steps_per_epoch} of an epoch", "accumulate")
    micro_batches = MicroBatches(every, trained.steps_per_epoch)
    samples = config.data.train.batch_size * every
    horizon = Horizon(micro_batches.steps_per_epoch, samples, config.train.epochs, config.train.steps)
    if horizon.total_steps > MOST_STEPS:
        with config.at("train"):
            steps = f"{horizon} of {horizon.steps_per_epoch} steps"
            raise ConfigError.of(f"{steps} are more than {number(MOST_STEPS)} steps", "epochs")
    programs = build_programs(config, trained.fields, horizon, onednn=onednn.used, ranks=world.ranks)
    config = with_classes(config, trained, "train", programs.model.classes)
    own = paddle.static.Scope()
    executor = Executor(place, own, plain=config.runtime.executor == "plain")
    with paddle.static.scope_guard(own):
        initialise(config, executor, programs.startup)
        for phase in programs.earlier:
            scope.create(own, phase.guard.state_name, np.ones(phase.guard.each.shape, bool))
        if programs.measured is not None and programs.measured.norms is not None:
            scope.create(own, programs.measured.norms.name, np.zeros(3))
        try_out(config, executor, programs.model, trained)
        warn_of_lone_samples(config, executor, own, programs.model, trained, world.ranks)
        tried = try_out(config, executor, programs.model, evaluated)
        # Averages that ranks share may be evaluated by the program of the raw weights itself.
        made = {id(test): on_onednn(test) if onednn.used else test for test in programs.tests.values()}
        tests = {name: made[id(test)] for name, test in programs.tests.items()}
        tried_on = replace(programs.model, test=tests[RAW])
        if not loss_is_a_mean(config, executor, own, tried_on, evaluated, accumulates=every > 1 or not world.alone):
            programs, tests = programs.without_loss(), {name: test.without_loss() for name, test in tests.items()}
    figures = figure_names(config, programs.model, tried)
    with config.at("train"):
        check_monitors(config.train.monitors, figures)
        if config.train.early_stop is not None and config.train.early_stop.monitor is not None:
            check_monitors([config.train.early_stop.monitor], figures, "early_stop", "monitor")
        check_pointers(config.train.monitors)
    if isinstance(programs.lr, ReduceOnPlateau) and "loss" not in programs.model.test.measures:
        with config.at("lr"):
            raise ConfigError.of("ReduceOnPlateau goes by the evaluation's loss, and this loss is no mean over samples", "name")
    if isinstance(programs.lr, ReduceOnPlateau) and not config.train.evaluates(RAW):
        with config.at("train"):
            raise ConfigError.of("ReduceOnPlateau goes by the loss of the raw weights: add 'raw'", "evaluate")
    tests = {weights: test for weights, test in tests.items() if config.train.evaluates(weights)}
    recalibrator = Recalibrator(executor, own, programs.model.inputs, trained, _recalibrations(config, programs), world)
    if not world.alone:
        trained.close()
        trained = trained.sliced(world.ranks)
    return TrainingRun(
        config,
        horizon,
        micro_batches,
        trained,
        evaluated,
        programs,
        executor,
        own,
        recalibrator,
        onednn,
        tests,
        world,
        ShardedAverages(world, own, programs.averages),
    )


def _recalibrations(config: Config, programs: Programs) -> dict[str, tuple[Recalibration, int]]:
    """By average, its recalibration in the phase of `programs`, and the most batches for it."""
    return {name: (each, config.averages[name].batches) for name, each in programs.recalibrations.items()}


def _renamed(arrays: Arrays, saved: SavedAverage, average: Average) -> dict[str, np.ndarray]:
    """The state of an average by the current names of its variables. `saved` has the names in the checkpoint.

    Earlier versions saved "w/ema", "w/ema/rest" and "w/ema/count" for "w.ema", "w.ema.rest" and "w.ema.count".
    """
    names = {saved.count: average.count, saved.weight: average.weight}
    for parameter, shadow in average.shadow_of.items():
        before = saved.shadow_of.get(parameter, shadow)
        names[before] = shadow
        if parameter in average.rest_of:
            names[f"{before}/rest"] = average.rest_of[parameter]
    return {names.get(name, name): array for name, array in arrays.items()}
