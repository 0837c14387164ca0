"""Evaluation: the figures of every measure of a test program over a whole data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ppema.data import Batch, Loader, never
from ppema.distributed.shared_work import SharedWork, by_first
from ppema.distributed.world import ALONE, World
from ppema.errors import TrainingError
from ppema.metrics import Figure, Gathered, Gauge
from ppema.metrics.merging import packed, unpacked
from ppema.programs.eval_program import TestProgram
from ppema.programs.executor import Executor, failed_on
from ppema.programs.feed import Inputs

# Receives what is done, in words, the number of batches done, and that of all, None if it is not known.
Watch = Callable[[str, int, int | None], None]


def unwatched(what: str, done: int, total: int | None) -> None:
    """The Watch that does nothing."""


def evaluate(
    executor: Executor,
    test: TestProgram,
    inputs: Inputs,
    loader: Loader,
    stopped: Callable[[], bool] = never,
    watch: Callable[[int, int], None] = lambda done, total: None,
    record: Callable[[Batch, Sequence[np.ndarray]], None] | None = None,
    world: World = ALONE,
) -> dict[str, Figure]:
    """Run `test` over `loader` in the current scope; returns each figure of each measure over all samples.

    watch: receives the number of batches done, and of all. record: receives each batch, and the values of `test.fetched` for
    it. world: its ranks share the batches; all of them get the figures of one process, and `record` the batches of its rank.

    No variable of the scope changes. Raises ConfigError for a metric whose statistics or figures can not be used, and
    FailedBatchError for an operation that fails. Raises DataError and GivenUp as `Loader.epoch` does. All ranks raise an error
    that one of them meets, and PeerError for a rank that fails otherwise.
    """
    gathered = {name: Gathered() for name in test.measures}
    work, total = SharedWork(world, "the evaluation", loader.abandon), loader.steps_per_epoch
    with work.trying():
        for batch in work.each(loader.epoch(0, stopped=stopped, ranks=world.ranks)):
            try:
                values = executor.run(test.program, inputs.feed(batch, loader), test.fetched)
            except TrainingError as error:
                raise failed_on(batch, loader.label, error) from error
            left = iter(values)
            for name, measure in test.measures.items():
                measure.gather(gathered[name], batch.number, len(batch.indices), [next(left) for _ in measure.statistics])
            if record is not None:
                record(batch, values)
            watch(min(batch.number + world.ranks.size, total), total)
    if world.alone:
        return _figures(test.measures, gathered)
    sent = work.gather(lambda: packed(gathered))

    def judged() -> bytes:
        parts = [unpacked(each) for each in sent]
        whole = {name: each.merged(part.get(name, Gathered()) for part in parts) for name, each in test.measures.items()}
        return json.dumps(_figures(test.measures, whole)).encode()

    # Another kind of processor may round differently, and what all ranks decide depends on the figures.
    return json.loads(by_first(world, judged, "the figures of the evaluation"))


def _figures(measures: Mapping[str, Gauge], gathered: Mapping[str, Gathered]) -> dict[str, Figure]:
    return {key: each for name, measure in measures.items() for key, each in measure.figures(gathered[name]).items()}


def numbers(found: Mapping[str, Figure]) -> dict[str, float]:
    """The figures of `found` that are numbers. Others are arrays, such as a confusion matrix."""
    return {name: value for name, value in found.items() if not isinstance(value, list)}
