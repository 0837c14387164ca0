"""A model with weights, ready to predict."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import paddle

from ppema.checkpoint.checkpoint import Checkpoint
from ppema.checkpoint.tensors import Arrays
from ppema.config import RAW, Config
from ppema.data import Field
from ppema.data.class_names import classes_of
from ppema.distributed.shared_work import by_first
from ppema.distributed.world import ALONE, World
from ppema.environment import choose_threads
from ppema.evaluation.prepared import normalising
from ppema.prediction.predicted import OutputForm
from ppema.programs.device import onednn_of, place_of
from ppema.programs.executor import Executor
from ppema.programs.loaders import eval_loader
from ppema.programs.model.normalization import is_unmeasured
from ppema.programs.model.shared_config import completed
from ppema.programs.prediction import Prediction, build_prediction
from ppema.programs.start import initialise, seed_everything
from ppema.weights.put import put_fitted
from ppema.weights.shared_arrays import arrays_of_first
from ppema.weights.stored_weights import StoredWeights, newest_checkpoint


class Predictor(Protocol):
    """A model with weights. `run` is called for one batch after another.

    fields: of a sample, targets too if they are known. forms: of the outputs, in order. what: the weights, in words.
    """

    config: Config
    fields: tuple[Field, ...]
    forms: tuple[OutputForm, ...]
    what: str

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the model returns for a batch: an array [n, ...] for each output. arrays: one for each input."""
        ...

    def close(self) -> None:
        """Free the memory."""
        ...


@dataclass
class StoredPredictor:
    """A Predictor of weights of a run: of a checkpoint, or of a file of weights. It has a scope of its own."""

    config: Config
    fields: tuple[Field, ...]
    forms: tuple[OutputForm, ...]
    what: str
    _prediction: Prediction
    _executor: Executor
    _scope: Any

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Predictor`. Raises TrainingError if an operation fails."""
        feed = {field.name: array for field, array in zip(self._prediction.inputs, arrays, strict=True)}
        with paddle.static.scope_guard(self._scope):
            return self._executor.run(self._prediction.program, feed, list(self._prediction.outputs.values()))

    def close(self) -> None:
        """Free the memory of activations."""
        self._executor.close()


def chosen_weights(config: Config) -> str:
    """The weights that predict if none are named: those of the first `train.monitor`, else raw."""
    monitor = config.train.monitor
    first = monitor[0] if isinstance(monitor, tuple) else monitor
    return RAW if first is None else first.partition("/")[0]


def open_stored(
    config: Config,
    weights: str | os.PathLike[str] | None,
    checkpoint: str | os.PathLike[str] | None,
    world: World = ALONE,
) -> StoredPredictor:
    """The predictor of `weights`: "raw", an average's name, None for `chosen_weights`, or a file *.safetensors.

    checkpoint: "last" (None), "best" or a path. The form of the samples is the one that the checkpoint keeps; for an older one,
    `data.eval` is opened. world: its rank 0 alone reads the folder of the run.

    Raises PpemaError for invalid arguments; ConfigError, DataError, CheckpointError, SetupError.
    """
    choose_threads(config.runtime.threads)
    weights = chosen_weights(config) if weights is None else os.fspath(weights)
    found = StoredWeights.find(config, weights, checkpoint, world)
    config = found.as_trained(config, world)
    if found.checkpoint is None:
        what = found.what if found.what == str(found.source) else f"{found.source}: {found.what}"
    else:
        what = f"{found.name} of {found.source}, step {found.step}"
    fields = _fields(config, found.checkpoint, world)
    config = completed(world, config, _normalised)
    return _prepared(config, fields, found.source, arrays_of_first(world, lambda: found.arrays), what)


def _prepared(config: Config, fields: tuple[Field, ...], source: Path, arrays: Arrays, what: str) -> StoredPredictor:
    place = place_of(config.runtime.device)
    onednn = onednn_of(config, place)
    seed_everything(config.seed)
    prediction = build_prediction(config, fields)
    scope = paddle.static.Scope()
    executor = Executor(place, scope, plain=config.runtime.executor == "plain")
    if onednn.used:
        prediction = prediction.on_onednn()
    with paddle.static.scope_guard(scope):
        initialise(config, executor, prediction.startup)
        put_fitted(scope, source, arrays, prediction.parameters)
    forms = tuple(_form(name, prediction, classes_of(config)) for name in prediction.outputs)
    return StoredPredictor(config, fields, forms, what, prediction, executor, scope)


def _form(name: str, prediction: Prediction, classes: tuple[str, ...] | None) -> OutputForm:
    """The form of the output `name`. It has the names `classes` if it has as many classes."""
    scores = prediction.scores.get(name)
    count = None if scores is None or scores.axis is None else prediction.outputs[name].shape[scores.axis]
    return OutputForm(name, scores, classes if classes is not None and count == len(classes) else None)


def _normalised(config: Config) -> Config:
    """`config` with the numbers of `data.normalize`. They are measured again if neither weights nor run keep them."""
    if not is_unmeasured(config):
        return config
    with closing(eval_loader(config)) as loader:
        return normalising(config, loader)


def _fields(config: Config, checkpoint: Checkpoint | None, world: World) -> tuple[Field, ...]:
    """The fields of a sample: those that `checkpoint` keeps, or the newest of the run, else those of `data.eval`."""

    def kept() -> bytes:
        found = checkpoint or newest_checkpoint(config)
        saved = found.manifest.fields if found is not None else []
        return json.dumps([(each.shape, each.dtype, each.name, each.is_target) for each in saved]).encode()

    if saved := json.loads(by_first(world, kept, "the form of the samples")):
        return tuple(Field(tuple(shape), *others) for shape, *others in saved)
    with closing(eval_loader(config)) as loader:
        return loader.fields
