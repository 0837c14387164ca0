"""A model with its weights, ready to be exported, and the samples that its exports are compared on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppema.config import Config
from ppema.data import Field
from ppema.data.pictures.preprocessing import Preprocessing
from ppema.deploy.picture_bytes import picture_bytes, prepared
from ppema.errors import ConfigError, DataError, Naming, PpemaError, one_line
from ppema.evaluation.prepared import normalising
from ppema.ir import Program, Variable
from ppema.programs.executor import Executor
from ppema.programs.loaders import eval_loader
from ppema.programs.model.normalization import is_unmeasured
from ppema.programs.model.picture_input import picture_shape
from ppema.programs.prediction import Prediction, build_prediction
from ppema.programs.start import initialise, seed_everything
from ppema.weights.put import put_fitted
from ppema.weights.stored_weights import StoredWeights

_MOST = 32  # samples of a comparison
_VARYING = 32  # the size of a dimension that differs from batch to batch, in random inputs


@dataclass(frozen=True)
class Samples:
    """The inputs that an export is compared on.

    arrays: [n, ...] by input; what: a description; label: of the evaluation data; total: the number of its samples, None if it
    can not be opened, for the reason `why`.
    """

    arrays: dict[str, np.ndarray]
    what: str
    label: str
    total: int | None
    why: str = ""


@dataclass(frozen=True)
class ReadyModel:
    """A model in a scope of its own, with the weights `found` under the variables' own names.

    config: with the numbers of `data.normalize`; fields: of a sample. preparation: of pictures, if the exported program takes
    their bytes and returns probabilities; exported: that program, else `prediction`.
    """

    config: Config
    found: StoredWeights
    fields: tuple[Field, ...]
    prediction: Prediction
    samples: Samples
    scope: Any
    executor: Executor
    preparation: Preprocessing | None
    exported: Prediction

    @property
    def outputs(self) -> dict[str, Variable]:
        """The outputs of `exported` that are exported, by name."""
        return self.exported.outputs if self.preparation is None else self.exported.results

    def expected(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """What `exported` must return for `feed`, by the program of prediction. Raises TrainingError if an operation fails."""
        if self.preparation is None:
            return self.run(self.prediction.program, list(self.prediction.outputs.values()), dict(feed))
        plain = {name: prepared(self.preparation, pictures) for name, pictures in feed.items()}
        return self.run(self.prediction.program, list(self.prediction.results.values()), plain)

    def run(self, program: Program, outputs: Sequence[Variable], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The values of `outputs` for `feed`. Raises TrainingError if an operation fails."""
        with paddle.static.scope_guard(self.scope):
            return self.executor.once(program, feed, outputs)


def ready_model(
    config: Config,
    weights: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None = None,
    *,
    preprocess: bool = False,
) -> ReadyModel:
    """Build the program of prediction of `config`, and load `weights` as evaluation does.

    preprocess: the exported program takes the bytes of pictures, and returns probabilities. ConfigError if it can not.
    weights, checkpoint: as for `StoredWeights.find`. The data is opened for samples. Without it, a checkpoint that holds the
    fields of samples is exported all the same. Raises CheckpointError, ConfigError, DataError.
    """
    found = StoredWeights.find(config, weights, checkpoint)
    config = found.as_trained(config)
    saved = found.checkpoint.manifest.fields if found.checkpoint is not None else []
    fields = tuple(Field(tuple(each.shape), each.dtype, each.name, each.is_target) for each in saved)
    try:
        config, fields, samples = _opened(config, preprocess=preprocess)
    except (ConfigError, DataError) as error:
        if not fields or is_unmeasured(config):
            raise
        samples = _drawn(config, fields, one_line(error), preprocess=preprocess)
    seed_everything(config.seed)
    prediction = build_prediction(config, fields)
    preparation = _preparation(config, fields) if preprocess else None
    exported = build_prediction(config, fields, preparation) if preprocess else prediction
    own = paddle.static.Scope()
    executor = Executor(paddle.CPUPlace(), own, plain=True)
    with paddle.static.scope_guard(own):
        initialise(config, executor, prediction.startup)
        put_fitted(own, found.source, found.arrays, prediction.parameters)
    return ReadyModel(config, found, fields, prediction, samples, own, executor, preparation, exported)


def _opened(config: Config, *, preprocess: bool) -> tuple[Config, tuple[Field, ...], Samples]:
    """The config with the numbers of `data.normalize`, the fields of samples, and the first samples of the evaluation data."""
    with closing(eval_loader(config)) as loader:
        config = normalising(config, loader)
        batch = next(iter(loader.epoch(0)))
        inputs = [field.name for field in loader.fields if not field.is_target]
        arrays = {name: array[:_MOST] for name, array in zip(inputs, batch.arrays, strict=False)}
        if preprocess:
            _preparation(config, loader.fields)  # raises
            arrays = {inputs[0]: picture_bytes(loader, _MOST)}
        count = len(next(iter(arrays.values())))
        what = f"{count} sample{'s' * (count > 1)} of {loader.label}"
        return config, loader.fields, Samples(arrays, what, loader.label, loader.samples)


def _preparation(config: Config, fields: tuple[Field, ...]) -> Preprocessing:
    """The preparation of the run's pictures. Raises PpemaError if its data is not pictures, or has random transforms."""
    try:
        return Preprocessing.of(config, fields)
    except ConfigError as error:
        why = error.problems[0].message.partition(":")[0]  # the rest is the remedy for predictions
        raise PpemaError(Naming("{preprocess}: {}: leave it out", why)) from error


def _drawn(config: Config, fields: tuple[Field, ...], why: str, *, preprocess: bool) -> Samples:
    """Random inputs: numbers in [0, 1), and 0 or 1 for integers, which may be indices; bytes for pictures."""
    rng = np.random.default_rng(config.seed)
    if preprocess:
        preparation = _preparation(config, fields)
        pictures = rng.integers(0, 256, (2, *picture_shape(preparation)), np.uint8)
        return Samples({preparation.input: pictures}, "2 random samples", "data.eval", None, why)
    arrays = {}
    for field in (each for each in fields if not each.is_target):
        shape = [2, *(_VARYING if size == -1 else size for size in field.shape)]
        arrays[field.name] = rng.random(shape, np.float32) if field.dtype == "float32" else rng.integers(0, 2, shape)
    return Samples(arrays, "2 random samples", "data.eval", None, why)
