"""The training batches of a run from one state to another."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from itertools import islice

from ppema.checkpoint.state import State
from ppema.data import Batch, never
from ppema.training.setup import TrainingRun


def batches_after(
    run: TrainingRun, state: State, last: int, begun: int = 0, stopped: Callable[[], bool] = never
) -> Generator[Batch, None, None]:
    """The batches after `state`, up to step `last`, without the first `begun`. Raises as `Loader.epoch` with `stopped` does.

    The caller closes it: if the garbage collector does, Python ignores a Ctrl-C while the loader's thread ends.
    """
    loader, micro_batches = run.train_loader, run.micro_batches
    left = micro_batches.before(last) - micro_batches.before(state.step) - begun
    epoch, start = state.epoch, state.batch + begun
    while left > 0:
        with closing(loader.epoch(epoch, start, stopped)) as batches:
            yield from islice(batches, left)
        left -= loader.steps_per_epoch - start
        epoch, start = epoch + 1, 0
