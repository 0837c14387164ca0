"""Measures BatchNorm statistics on training batches, for the weights of a run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from ppema.data import Batch, Loader, never
from ppema.data.bad_sample import bad_sample
from ppema.distributed.shared_work import SharedWork
from ppema.distributed.world import ALONE, World
from ppema.errors import TrainingError
from ppema.evaluation.measured_together import LeftOut, exchanged
from ppema.ir import Program
from ppema.passes.recalibrate import Feed, Recalibration, own_alone
from ppema.programs.executor import Executor, failed_on
from ppema.programs.feed import Inputs


class Recalibrator:
    """Measures the BatchNorm statistics of weights on batches of training data, which are the same throughout a run.

    The batches are the first ones of epoch 0, all of as many samples. A short last batch is omitted unless it is the only one.
    Ranks share the batches, and all get the statistics of one process.
    """

    def __init__(
        self,
        executor: Executor,
        scope: Any,
        inputs: Inputs,
        train: Loader,
        wanted: Mapping[str, tuple[Recalibration, int]],
        world: World = ALONE,
    ):
        """train: the training data; a second loader reads it. wanted: as for `use`. world: the ranks.

        Raises DataError for a label outside the model's classes.
        """
        inputs.check_all(train)
        self._executor = executor
        self._scope = scope
        self._inputs = inputs
        self._loader = train.twin(drop_last=train.samples >= train.batch_size)
        self._world = world
        self._warned: set[str] = set()
        self.use(wanted)

    def use(self, wanted: Mapping[str, tuple[Recalibration, int]]) -> None:
        """Measure by `wanted` from now on: for each name of weights the recalibration, and the most batches that it uses."""
        self._wanted = dict(wanted)

    def measure(self, weights: str, warn: Callable[[str], None] = warnings.warn, stopped: Callable[[], bool] = never) -> int:
        """Measure the statistics of `weights` in the current scope, which must be the run's.

        Returns the number of batches measured: 0 if `weights` need no recalibration. A batch with non-finite statistics is
        omitted, as a training step on it is skipped; `warn` receives one line about such batches, once for `weights`. Raises
        NotFiniteError if every batch is omitted, and FailedBatchError for an operation that fails. Raises DataError and GivenUp
        as `Loader.epoch` does, and PeerError. All ranks raise the error of one. The statistics are then as before.
        """
        if weights not in self._wanted:
            return 0
        recalibration, batches = self._wanted[weights]
        most = min(batches, self._loader.steps_per_epoch)
        work, ranks = SharedWork(self._world, "the recalibration", self._loader.abandon), self._world.ranks
        left_out = LeftOut()

        def feeds() -> Iterator[Feed]:
            nonlocal batch
            own = len(range(ranks.rank, most, ranks.size))
            for batch in work.each(islice(self._loader.epoch(0, stopped=stopped, ranks=ranks), own)):
                yield self._inputs.feed(batch, self._loader)

        def run(program: Program, feed: Feed) -> None:
            try:
                self._executor.run(program, feed)
            except TrainingError as error:
                raise failed_on(batch, self._loader.label, error) from error

        def leave_out(name: str) -> None:
            sample = bad_sample(batch, self._loader.label)
            left_out[batch.number] = f"in batch {batch.number} {name} is not finite" + (f"; {sample}" if sample else "")

        batch: Batch
        exchange = own_alone if self._world.alone else partial(exchanged, work, left_out=left_out)
        measured = recalibration.measure(self._scope, feeds(), run, leave_out, exchange)
        if left_out and weights not in self._warned:
            self._warned.add(weights)
            warn(f"the recalibration of {weights!r} leaves out {len(left_out)} of {most} batches: {left_out[min(left_out)]}")
        return measured

    def close(self) -> None:
        """Close the loader."""
        self._loader.close()
