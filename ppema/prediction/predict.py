"""Predicts batch by batch: only a few batches of inputs and outputs are in memory at a time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeGuard, get_args

import numpy as np

from ppema.config import RAW, Config
from ppema.config.sections.normalize import numbers_of
from ppema.data.given.preparation import OnError
from ppema.data.inputs import BatchTurns, InputBatch, InputSource
from ppema.distributed.world import ALONE, World
from ppema.errors import DataError, Naming, PpemaError, TrainingError, listed
from ppema.prediction.exported import open_exported
from ppema.prediction.predicted import Predicted, PredictedBatch
from ppema.prediction.predictor import Predictor, open_stored
from ppema.prediction.rounds import in_rounds
from ppema.prediction.sources import Opener
from ppema.programs.all_ranks import all_ranks
from ppema.programs.executor import is_refusal
from ppema.programs.same_work import check_same_work
from ppema.weights.stored_weights import weights_facts

_FAR = 50  # standard deviations of training: the mean of a batch of the same kind of data is nearer


class Predicting:
    """A model with weights, and a source of inputs for it.

    world: its ranks take turns with the batches, and all get all predictions; rank 0 alone reads the weights of a run.
    config: of the run; None for an exported folder. weights, checkpoint: see `open_stored`; or the path of an exported folder,
    which has a config of its own, without a checkpoint. The name of an average comes before a folder of that name. inputs,
    on_error: see `Opener`. batch_size: that of `data.eval` if None.

    Raises PpemaError for invalid arguments; ConfigError, DataError, CheckpointError, SetupError.
    """

    def __init__(
        self,
        config: Config | None,
        inputs: Any,
        *,
        weights: str | os.PathLike[str] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        batch_size: int | None = None,
        on_error: OnError = "stop",
        world: World = ALONE,
    ):
        if on_error not in get_args(OnError):
            raise PpemaError(Naming("{on_error}: expected {}, got {!r}", " or ".join(get_args(OnError)), on_error))
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise PpemaError(Naming("{batch_size}: expected an integer >= 1, got {!r}", batch_size))
        self._on_error, self._world = on_error, world
        given = weights_facts(weights, checkpoint)
        check_same_work(world, "the predictions", config, given | {"batch_size": batch_size, "on_error": on_error})
        self._predictor = _opened(config, weights, checkpoint, world)
        try:
            self._batch_size = batch_size or _batch_size(self._predictor.config)
            self._source: InputSource = Opener(self._predictor.config, self._predictor.fields, self._batch_size, on_error).open(
                inputs
            )
            total = {"the number of samples to predict for": self.total}
            world.agree(total, "the predictions", "all of them need the same inputs")
        except BaseException:
            self._predictor.close()
            raise

    @property
    def what(self) -> str:
        """The weights, in words."""
        return self._predictor.what

    @property
    def total(self) -> int | None:
        """The number of samples; None if it is not known yet."""
        return self._source.total

    def batches(self) -> Iterator[PredictedBatch]:
        """The predictions in the order of the inputs. A batch of no sample may carry samples that were left out.

        Raises DataError for an unusable sample with "stop", and with "skip" at the end if none was usable: one that can not be
        read, or whose numbers an operation refuses, such as a token beyond the vocabulary. Raises TrainingError, with the
        samples of the batch, for an operation that fails otherwise.
        """
        predicted, failed, own = 0, 0, self._own()
        for batch in own if self._world.alone else in_rounds(self._world, own, self._predictor.forms):
            if batch.names and not predicted and batch.doubt:
                warnings.warn(batch.doubt, stacklevel=2)
            predicted, failed = predicted + len(batch.names), failed + len(batch.failed)
            yield batch
        if not predicted:
            raise DataError(f"no sample could be used: all {failed} were left out")

    def _own(self) -> Iterator[PredictedBatch]:
        """The batches of this rank."""
        begun = False
        for given in self._source.batches(self._batch_size, BatchTurns(self._world.ranks)):
            batch, outputs = self._run(given)
            doubt = self._doubt(batch) if batch.names and not begun else ""
            begun = begun or bool(batch.names)
            yield PredictedBatch(batch.names, outputs, self._predictor.forms, batch.failed, doubt, batch.more)

    def samples(self) -> Iterator[Predicted]:
        """The same sample by sample. A sample that is left out is reported by a warning."""
        with closing(self):
            for batch in self.batches():
                for name, reason in batch.failed:
                    warnings.warn(f"left out: {name}: {reason}", stacklevel=2)
                yield from batch.samples()

    def close(self) -> None:
        """Free the memory of the model."""
        self._predictor.close()

    def _run(self, batch: InputBatch) -> tuple[InputBatch, dict[str, np.ndarray]]:
        """`batch` without the samples that an operation refuses, and the outputs by name."""
        if not batch.names:
            return batch, {}
        try:
            values = self._predictor.run(batch.arrays)
        except TrainingError as error:
            kept = batch.without(self._refused(batch)) if is_refusal(error) else batch
            if len(kept.names) == len(batch.names):
                raise TrainingError(f"the batch of {listed(batch.names)}: {error}") from error
            return self._run(kept)
        return batch, self._outputs(batch, values)

    def _doubt(self, batch: InputBatch) -> str:
        """A line if the mean of an input is far from that of training, as with pixels in 0..255 in place of 0..1; else ""."""
        trained = numbers_of(self._predictor.config.data.normalize) or {}
        names = [field.name for field in self._predictor.fields if not field.is_target]
        for name, array in zip(names, batch.arrays, strict=True):
            if name in trained:
                mean, found = np.mean(trained[name].mean), array.mean(dtype=np.float64)
                if abs(found - mean) > _FAR * max(trained[name].std):
                    return (
                        f"{name}: the mean of the first batch is {found:.3g}, that of the training data {mean:.3g}: are the "
                        "inputs in the same unit, such as pixels in 0..1?"
                    )
        return ""

    def _refused(self, batch: InputBatch) -> dict[int, str]:
        """The reason by row of each sample that an operation refuses alone. Raises DataError for the first, with "stop"."""
        refused: dict[int, str] = {}
        for row, name in enumerate(batch.names):
            try:
                self._predictor.run([array[row : row + 1] for array in batch.arrays])
            except TrainingError as error:
                if not is_refusal(error):
                    raise
                if self._on_error == "stop":
                    raise DataError(f"{name}: {error}") from error
                refused[row] = str(error)
        return refused

    def _outputs(self, batch: InputBatch, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs `values` by name. Raises PpemaError for one without a row for each sample, TrainingError for NaN."""
        outputs = {form.name: value for form, value in zip(self._predictor.forms, values, strict=True)}
        for name, value in outputs.items():
            if value.ndim == 0 or len(value) != len(batch.names):
                raise PpemaError(
                    f"the model's output {name!r} is {list(value.shape)} for {len(batch.names)} samples: a prediction needs "
                    "one row for each"
                )
        for form in self._predictor.forms:
            # The largest of numbers that are NaN would be the class of the first NaN.
            if form.axis is not None and (bad := np.isnan(outputs[form.name]).reshape(len(batch.names), -1).any(axis=1)).any():
                sample = batch.names[int(bad.argmax())]
                raise TrainingError(f"{sample}: the model's output {form.name!r} is nan for finite inputs, so it has no class")
        return outputs


def predicted_samples(config: Config | None, inputs: Any, **options: Any) -> Iterator[Predicted]:
    """`ppema.api.predict`, once paddle is loaded. Arguments, result and errors are those of `Predicting`, without its world."""
    with ExitStack() as opened:
        world = opened.enter_context(all_ranks(config))
        made = opened.enter_context(closing(Predicting(config, inputs, **options, world=world)))
        return _samples(made, opened.pop_all())


def _samples(made: Predicting, opened: ExitStack) -> Iterator[Predicted]:
    with opened:
        yield from made.samples()


def is_folder(weights: str | os.PathLike[str] | None, config: Config | None) -> TypeGuard[str | os.PathLike[str]]:
    """Whether `weights` is the path of a folder, and not "raw" or the name of an average of `config`."""
    named = config is not None and weights is not None and os.fspath(weights) in (RAW, *config.averages)
    return weights is not None and os.path.isdir(weights) and not named


def _opened(
    config: Config | None,
    weights: str | os.PathLike[str] | None,
    checkpoint: str | os.PathLike[str] | None,
    world: World,
) -> Predictor:
    if is_folder(weights, config):
        if checkpoint is not None:
            raise PpemaError(Naming("{checkpoint}: {} is an exported model: leave it out", os.fspath(weights)))
        return open_exported(Path(weights))
    assert config is not None, "only an exported folder needs no config"
    return open_stored(config, weights, checkpoint, world)


def _batch_size(config: Config) -> int:
    spec = config.data.eval
    return (None if spec is None else spec.batch_size) or config.data.train.batch_size
