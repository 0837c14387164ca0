"""Prepares a model, its data and a scope of its own for evaluation. The weights are loaded later."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppema.checkpoint.begun import MicroBatches
from ppema.checkpoint.best import FigureNames
from ppema.checkpoint.checkpoint import Checkpoint
from ppema.checkpoint.tensors import Arrays
from ppema.config import RAW, Config
from ppema.config.horizon import Horizon
from ppema.data import Batch, Loader
from ppema.distributed.world import ALONE, World
from ppema.environment import choose_threads
from ppema.evaluation.evaluate import evaluate
from ppema.evaluation.recalibrator import Recalibrator
from ppema.evaluation.trial import figure_names, loss_is_a_mean, try_out
from ppema.ir import scope
from ppema.metrics import Figure
from ppema.passes.recalibrate import recalibration
from ppema.programs.device import onednn_of, place_of
from ppema.programs.eval_program import Model, build_test_model, on_onednn
from ppema.programs.executor import Executor
from ppema.programs.loaders import eval_loader, train_loader
from ppema.programs.model.known_classes import with_classes
from ppema.programs.model.normalization import is_unmeasured, kept_by_run, measured
from ppema.programs.model.shared_config import completed
from ppema.programs.phases import waiting_after
from ppema.programs.start import initialise, seed_everything
from ppema.programs.statistics import train_statistics
from ppema.user_code.blame import building
from ppema.weights.put import put_fitted
from ppema.weights.shared_arrays import arrays_of_first


@dataclass(frozen=True)
class EvaluationRun:
    """A model ready for evaluation. `load` fills the scope with weights.

    model: its test program uses oneDNN wherever a training run does; figures: the names of its figures; world: the ranks, which
    share batches. Rank 0 alone reads weights.
    """

    config: Config
    model: Model
    eval_loader: Loader
    executor: Executor
    scope: Any
    figures: FigureNames
    world: World = ALONE

    def close(self) -> None:
        """Close the loader, and free the memory of activations."""
        self.eval_loader.close()
        self.executor.close()

    def load(self, checkpoint: Checkpoint, weights: str, copied: Collection[str] = ()) -> None:
        """Put `weights`, "raw" or an average's name, under the variables' own names.

        copied: the variables that get their raw value instead. Raises CheckpointError.
        """

        def read() -> Arrays:
            raw = checkpoint.arrays(RAW) if copied else {}
            return checkpoint.weights(weights) | {name: raw[name] for name in copied if name in raw}

        self.put(checkpoint.path, read)

    def put(self, source: Path, read: Callable[[], Arrays]) -> None:
        """Put the arrays of `read()`, which come from `source`, in place of all variables. Rank 0 alone reads them.

        An average of half-precision weights is rounded to their dtype. Raises CheckpointError if they do not fit, and what
        `read` raises, on all ranks.
        """
        put_fitted(self.scope, source, arrays_of_first(self.world, read), self.model.parameters)

    def read(self) -> dict[str, np.ndarray]:
        """Copies of all variables by name."""
        return {name: scope.get(self.scope, name) for name in self._names}

    @property
    def _names(self) -> list[str]:
        return [parameter.name for parameter in self.model.parameters]

    def recalibrator(self, batches: int, step: int | None = None) -> Recalibrator:
        """A Recalibrator of the weights under the variables' own names, which it calls RAW. The caller closes it.

        batches: the most training batches for a measurement. step: of the weights; statistics that are frozen there keep their
        values. None: a step at which nothing waits. Raises ConfigError, DataError.
        """
        training = train_loader(self.config, self.eval_loader)
        statistics, differ = self._statistics(training, step), any(-1 in each.shape for each in training.fields)
        with self.config.at("model"), building():
            made = recalibration(self.model.test.program, statistics, counted=differ)
        return Recalibrator(self.executor, self.scope, self.model.inputs, training, {RAW: (made, batches)}, self.world)

    def evaluate(
        self,
        watch: Callable[[int, int], None] = lambda done, total: None,
        record: Callable[[Batch, Sequence[np.ndarray]], None] | None = None,
    ) -> dict[str, Figure]:
        """`evaluate` the weights in the scope, which must be the current one. Raises as that does."""
        return evaluate(
            self.executor, self.model.test, self.model.inputs, self.eval_loader, watch=watch, record=record, world=self.world
        )

    def statistics(self, step: int) -> set[str]:
        """The names of the BatchNorm statistics that training updates in the step that led to `step` steps.

        Raises ConfigError, DataError.
        """
        if all(group.frozen_for is None for group in self.config.groups):
            return self._statistics(self.eval_loader, None)
        with closing(train_loader(self.config, self.eval_loader)) as training:
            return self._statistics(training, step)

    def _statistics(self, training: Loader, step: int | None) -> set[str]:
        waiting = frozenset[str]()
        if step is not None:
            train = self.config.train
            steps = MicroBatches(train.accumulate, training.steps_per_epoch).steps_per_epoch
            samples = self.config.data.train.batch_size * train.accumulate
            horizon = Horizon(steps, samples, train.epochs, train.steps)
            waiting = waiting_after(self.config, self.model, horizon, step)
        return train_statistics(self.config, training.fields, self.model, waiting)


def prepare_evaluation(config: Config, *, samples: bool = False, world: World = ALONE) -> EvaluationRun:
    """Open the evaluation data and build the test program, without a train program.

    Unknown numbers of `data.normalize` are those that the run's newest checkpoint keeps, or else are measured again.
    The scope gets initial values, and the program runs on a few samples. A loss that is no mean over samples is not measured;
    a warning reports it. samples: whether the statistics of each sample can be taken. world: its ranks share the batches.
    Raises ConfigError, DataError or SetupError.
    """
    choose_threads(config.runtime.threads)
    place = place_of(config.runtime.device)
    onednn = onednn_of(config, place)
    seed_everything(config.seed)
    loader = eval_loader(config)
    world.agree({"the number of samples of data.eval": loader.samples}, "the evaluation")
    config = completed(world, config, lambda config: normalising(config, loader))
    model = build_test_model(config, loader.fields, samples=samples)
    config = with_classes(config, loader, "eval", model.classes)
    own = paddle.static.Scope()
    executor = Executor(place, own, plain=config.runtime.executor == "plain")
    if onednn.used:
        model = replace(model, test=on_onednn(model.test))
    with paddle.static.scope_guard(own):
        initialise(config, executor, model.startup)
        tried = try_out(config, executor, model, loader)
        if not loss_is_a_mean(config, executor, own, model, loader):
            model = model.without_loss()
    return EvaluationRun(config, model, loader, executor, own, figure_names(config, model, tried), world)


def normalising(config: Config, evaluated: Loader) -> Config:
    """`config` with the numbers of `data.normalize`: those that its run keeps, else measured over the training samples."""
    config = kept_by_run(config) if is_unmeasured(config) else config
    if not is_unmeasured(config):
        return config
    with closing(train_loader(config, evaluated)) as trained:
        return measured(config, trained)
