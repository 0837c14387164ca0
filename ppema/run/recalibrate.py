"""BatchNorm statistics measured on training batches, for the weights of a run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from ppema.data import Loader
from ppema.inputs import Inputs
from ppema.recalibration import Recalibration
from ppema.run.execute import Executor


class Recalibrator:
    """Measures the statistics that belong to weights, on batches of training data: always the same ones, in a run.

    They are the first of epoch 0, all of one size: a short last batch is left out, unless there is no other.
    """

    def __init__(
        self, executor: Executor, scope: Any, inputs: Inputs, train: Loader, wanted: Mapping[str, tuple[Recalibration, int]]
    ):
        """train: is not read itself; wanted: the recalibration of weights, and the most batches it takes, by their name.

        Raises DataError for a class that the model does not have.
        """
        inputs.check_all(train)
        self._executor = executor
        self._scope = scope
        self._inputs = inputs
        self._loader = train.twin(drop_last=train.samples >= train.batch_size)
        self._wanted = dict(wanted)

    def measure(self, weights: str) -> int:
        """Measure for `weights`; returns the number of batches, 0 where they are not wanted. Runs in the current scope,
        which must be the run's."""
        if weights not in self._wanted:
            return 0
        recalibration, batches = self._wanted[weights]
        most = min(batches, self._loader.steps_per_epoch)
        feeds = (self._inputs.feed(batch, self._loader) for batch in islice(self._loader.epoch(0), most))
        return recalibration.measure(self._scope, feeds, self._executor.run)

    def close(self) -> None:
        """End what reads the data."""
        self._loader.close()
