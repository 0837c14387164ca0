"""From a config to everything a run works with: data, programs, an executor and a scope of its own."""

from __future__ import annotations

import os
import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppema.averaging.decay import MOST_STEPS
from ppema.averaging.precision import fitted
from ppema.config import RAW, Config
from ppema.config.wording import number
from ppema.data import Loader, build_loader
from ppema.environment import choose_threads, keep_freed_memory
from ppema.errors import CheckpointError, ConfigError, TrainingError, one_line
from ppema.forward import building
from ppema.ir import Program, backend, scope
from ppema.passes.average import Average
from ppema.programs import Horizon, Model, Programs, TestProgram, build_programs, build_test_model, on_onednn, train_statistics
from ppema.recalibration import recalibration
from ppema.run.best import check_monitors
from ppema.run.checkpoint import Checkpoint, check_fits
from ppema.run.checkpoints import Checkpoints, check_pointers
from ppema.run.device import Onednn, onednn_of, place_of
from ppema.run.execute import Executor
from ppema.run.manifest import SavedAverage
from ppema.run.recalibrate import Recalibrator
from ppema.run.tensors import Arrays
from ppema.run.trial import loss_is_a_mean, try_out
from ppema.saved import read
from ppema.schedules import ReduceOnPlateau


@dataclass(frozen=True)
class TrainingRun:
    """A training run, ready for its first step: the scope holds the initial values.

    recalibrator: measures the BatchNorm statistics of an average whose policy says so, by the average's name; onednn: whether
    convolutions are computed by oneDNN; tests: what evaluates here, `programs.tests` or copies of them on oneDNN.
    """

    config: Config
    horizon: Horizon
    train_loader: Loader
    eval_loader: Loader
    programs: Programs
    executor: Executor
    scope: Any
    recalibrator: Recalibrator
    onednn: Onednn
    tests: dict[str, TestProgram]

    @property
    def kernels(self) -> str:
        """In words, which operations of the train program oneDNN computes, or why none."""
        placement = self.programs.placement
        return f"not used: {self.onednn.why}" if placement is None else str(placement)

    def close(self) -> None:
        """End what reads the data, and free the memory of activations."""
        self.train_loader.close()
        self.eval_loader.close()
        self.recalibrator.close()
        self.executor.close()

    def state_parts(self) -> dict[str, list[str]]:
        """The variables a checkpoint holds, by the part of it that they are in."""
        raw = [parameter.name for parameter in self.programs.model.parameters]
        averages = {f"average-{name}": average.state_names for name, average in self.programs.averages.items()}
        # What the guard holds is of one step, and read right after it.
        elsewhere = {*raw, *(name for names in averages.values() for name in names), self.programs.guard.state_name}
        optimizer = [name for name in backend().state_names(self.programs.train) if name not in elsewhere]
        return {RAW: raw, "optimizer": optimizer, **averages}

    def read(self) -> dict[str, dict[str, np.ndarray]]:
        """A copy of the whole state, by part."""
        return {part: read(self.scope, names) for part, names in self.state_parts().items()}

    def write(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's state in place of the run's, whole or not at all. Raises CheckpointError where it is another's."""
        wanted = self.state_parts()
        found = {part: checkpoint.arrays(part) for part in wanted}
        for name, average in self.programs.averages.items():
            saved = checkpoint.manifest.averages.get(name)
            if saved is None:
                raise CheckpointError(f"{checkpoint.path}: damaged: its manifest lacks the average {name!r}")
            found[f"average-{name}"] = _renamed(found[f"average-{name}"], saved, average)
        for part, names in wanted.items():
            check_fits(checkpoint.path, found[part], names)
        put(self.scope, checkpoint.path, {name: array for arrays in found.values() for name, array in arrays.items()})


def prepare_training(config: Config) -> TrainingRun:
    """Load the data, build the programs and run the startup program in a new scope.

    Raises ConfigError, DataError or SetupError; has then written nothing.
    """
    choose_threads(config.runtime.threads)
    output_of(config)
    place = place_of(config.runtime.device)
    onednn = onednn_of(config, place)
    if onednn.used:
        keep_freed_memory()
    _seed(config.seed)
    eval_loader = _eval_loader(config)
    train_loader = _train_loader(config, eval_loader)
    horizon = Horizon(train_loader.steps_per_epoch, config.data.train.batch_size, config.train.epochs)
    if horizon.total_steps > MOST_STEPS:
        with config.at("train"):
            steps = f"{horizon.epochs} epochs of {horizon.steps_per_epoch} steps"
            raise ConfigError.of(f"{steps} are more than {number(MOST_STEPS)} steps", "epochs")
    programs = build_programs(config, train_loader.fields, horizon, onednn=onednn.used)
    own = paddle.static.Scope()
    executor = Executor(place, own, plain=config.runtime.executor == "plain")
    with paddle.static.scope_guard(own):
        _initialise(config, executor, programs.startup)
        for loader in (train_loader, eval_loader):
            try_out(config, executor, programs.model, loader)
        tests = {name: on_onednn(test) if onednn.used else test for name, test in programs.tests.items()}
        if not loss_is_a_mean(config, executor, own, replace(programs.model, test=tests[RAW]), eval_loader):
            programs, tests = programs.without_loss(), {name: test.without_loss() for name, test in tests.items()}
    with config.at("train"):
        check_monitors(config.train.monitors, programs.model.test.measures)
        check_pointers(config.train.monitors)
    if isinstance(programs.lr, ReduceOnPlateau) and "loss" not in programs.model.test.measures:
        with config.at("lr"):
            raise ConfigError.of("ReduceOnPlateau goes by the evaluation's loss, and this loss is no mean over samples", "name")
    wanted = {name: (each, config.averages[name].batches) for name, each in programs.recalibrations.items()}
    recalibrator = Recalibrator(executor, own, programs.model.inputs, train_loader, wanted)
    return TrainingRun(config, horizon, train_loader, eval_loader, programs, executor, own, recalibrator, onednn, tests)


@dataclass(frozen=True)
class EvaluationRun:
    """A model ready to be evaluated; `load` fills the scope with weights.

    model: its test program computes as those of a training run do, on oneDNN where that can be.
    """

    config: Config
    model: Model
    eval_loader: Loader
    executor: Executor
    scope: Any

    def close(self) -> None:
        """End what reads the data, and free the memory of activations."""
        self.eval_loader.close()
        self.executor.close()

    def load(self, checkpoint: Checkpoint, weights: str, copied: Collection[str] = ()) -> None:
        """Put the weights "raw" or an average's under the variables' own names, but of the raw ones those in `copied`.

        Raises CheckpointError.
        """
        raw = checkpoint.arrays(RAW) if copied else {}
        arrays = checkpoint.weights(weights) | {name: raw[name] for name in copied if name in raw}
        self.put(checkpoint.path, arrays)

    def put(self, source: Path, arrays: Arrays) -> None:
        """Put `arrays`, which come from `source`, in place of all variables. Raises CheckpointError where they do not fit.

        What averages half weights is rounded to their type.
        """
        check_fits(source, arrays, self._names)
        put(self.scope, source, {each.name: fitted(arrays[each.name], each.dtype) for each in self.model.parameters})

    def read(self) -> dict[str, np.ndarray]:
        """A copy of all variables, by their names."""
        return {name: scope.get(self.scope, name) for name in self._names}

    @property
    def _names(self) -> list[str]:
        return [parameter.name for parameter in self.model.parameters]

    def recalibrator(self, batches: int) -> Recalibrator:
        """Measures the BatchNorm statistics of the weights under the variables' own names, RAW, on training batches.

        Close it after use. Raises ConfigError, DataError.
        """
        train_loader = _train_loader(self.config, self.eval_loader)
        with self.config.at("model"), building():
            made = recalibration(self.model.test.program, train_statistics(self.config, train_loader.fields))
        return Recalibrator(self.executor, self.scope, self.model.inputs, train_loader, {RAW: (made, batches)})


def prepare_evaluation(config: Config) -> EvaluationRun:
    """Load the evaluation data and build the test program alone. Raises ConfigError, DataError or SetupError."""
    choose_threads(config.runtime.threads)
    place = place_of(config.runtime.device)
    onednn = onednn_of(config, place)
    _seed(config.seed)
    eval_loader = _eval_loader(config)
    model = build_test_model(config, eval_loader.fields)
    own = paddle.static.Scope()
    executor = Executor(place, own, plain=config.runtime.executor == "plain")
    if onednn.used:
        model = replace(model, test=on_onednn(model.test))
    with paddle.static.scope_guard(own):
        _initialise(config, executor, model.startup)
        try_out(config, executor, model, eval_loader)
        if not loss_is_a_mean(config, executor, own, model, eval_loader):
            model = model.without_loss()
    return EvaluationRun(config, model, eval_loader, executor, own)


def output_of(config: Config) -> Path:
    """The folder a run writes to. Raises ConfigError for what can be no path."""
    output = Path(config.output or "runs/run")
    try:
        os.lstat(output)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        with config.at("output"):
            raise ConfigError.of(one_line(error)) from error
    return output


def checkpoints_of(config: Config, horizon: Horizon | None = None) -> Checkpoints:
    """The checkpoints of the config's run; to prune them one has to say how long that is."""
    every = config.train.keep_every
    keep_every = horizon.steps(every) if horizon is not None and every is not None else None
    return Checkpoints(output_of(config) / "checkpoints", keep=config.train.keep, keep_every=keep_every)


def _renamed(arrays: Arrays, saved: SavedAverage, average: Average) -> dict[str, np.ndarray]:
    """The state of an average by the names of its variables; the manifest says by which names it was saved.

    These were "w/ema", "w/ema/rest" and "w/ema/count" before they were "w.ema", "w.ema.rest" and "w.ema.count".
    """
    names = {saved.count: average.count, saved.weight: average.weight}
    for parameter, shadow in average.shadow_of.items():
        before = saved.shadow_of.get(parameter, shadow)
        names[before] = shadow
        if parameter in average.rest_of:
            names[f"{before}/rest"] = average.rest_of[parameter]
    return {names.get(name, name): array for name, array in arrays.items()}


def put(where: Any, source: Path, arrays: Arrays) -> None:
    """`scope.put`, whose refusals are the fault of the file or folder that the arrays come from."""
    try:
        scope.put(where, arrays)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{source}: {error}: it is another model's") from error


def _train_loader(config: Config, eval_loader: Loader) -> Loader:
    with config.at("data", "train"):
        loader = build_loader(config.data.train, seed=config.seed, label="data.train")
    if loader.fields != eval_loader.fields:
        with config.at("data", "eval"):
            ours, theirs = (", ".join(map(str, each.fields)) for each in (eval_loader, loader))
            raise ConfigError.of(f"its samples are {ours}; those of data.train are {theirs}")
    return loader


def _eval_loader(config: Config) -> Loader:
    with config.at("data", "eval"):
        if config.data.eval.drop_last:
            raise ConfigError.of("an evaluation covers every sample: remove it", "drop_last")
        return build_loader(config.data.eval, seed=config.seed, label="data.eval")


def _initialise(config: Config, executor: Executor, startup: Program) -> None:
    """Give every variable its initial value in the current scope; one that does not fit the memory is the model's fault."""
    with config.at("model"):
        try:
            executor.once(startup, {})
        except TrainingError as error:
            raise ConfigError.of(f"the initial values can not be made: {error}") from error


def _seed(seed: int) -> None:
    """All generators that models and data sets may draw from while they are built."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    paddle.seed(seed)
