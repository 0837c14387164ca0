"""Draws the first evaluation samples with the predictions of each set of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ppema.config import Config
from ppema.data import Batch, Loader
from ppema.data.class_names import classes_of
from ppema.log.pictures.sample_grid import as_colours, sample_grid
from ppema.log.run_board import RunBoard
from ppema.programs.eval_program import Model, TestProgram
from ppema.programs.executor import Executor

TAG = "samples/predictions"


class SamplePredictions:
    """The images of `board.pictures`. The samples are read once and kept, in the batches of the evaluation."""

    def __init__(self, config: Config, model: Model, executor: Executor, loader: Loader):
        """model: with `pictured`; loader: of the evaluation data."""
        self._count, self._names = config.board.pictures, classes_of(config)
        self._model, self._executor, self._loader = model, executor, loader
        self._batches: list[Batch] = []
        assert model.pictured is not None, "the model is built with pictures"
        self._shown = model.pictured

    def draw(self, board: RunBoard, tests: Mapping[str, TestProgram], step: int, stopped: Callable[[], bool]) -> None:
        """Add an image of each of `tests`, by weights after `step`, to the next write of `board`.

        Runs in the current scope, and changes no variable of it. stopped: whether to give up data that does not come. Raises
        DataError and GivenUp as `Loader.epoch` does, and TrainingError if an operation fails; then it has drawn nothing.
        """
        shown = self._shown
        if not self._batches:
            self._batches = self._first(stopped)
        predicted = {weights: self._predicted(test) for weights, test in tests.items()}
        pictures = as_colours([each for batch in self._batches for each in batch.arrays[shown.picture]], shown.channels)
        for weights, found in predicted.items():
            pairs = zip(self._batches, found, strict=True)
            true = [label for batch, classes in pairs for label in shown.true(batch.arrays[shown.target], classes)]
            classes = [label for each in found for label in each]
            title = f"{weights} after step {step}"
            image = sample_grid(title, pictures, true, classes, shown.classes, self._names)
            board.image(weights, TAG, image, step)

    def _predicted(self, test: TestProgram) -> list[np.ndarray]:
        """The predicted classes of each batch."""
        assert test.shown is not None, "test programs have the output of `Model.pictured`"
        feeds = (self._model.inputs.feed(batch, self._loader) for batch in self._batches)
        return [self._shown.predicted(self._executor.run(test.program, feed, [test.shown])[0]) for feed in feeds]

    def _first(self, stopped: Callable[[], bool]) -> list[Batch]:
        """The batches of the first samples. The last one is cut."""
        found: list[Batch] = []
        left = self._count
        for batch in self._loader.epoch(0, stopped=stopped):
            # Copies, so that the rest of a cut batch is freed.
            found.append(Batch(tuple(array[:left].copy() for array in batch.arrays), batch.indices[:left].copy()))
            left -= len(found[-1].indices)
            if left <= 0:
                break
        return found
