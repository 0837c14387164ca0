"""Warns of batches in which BatchNorm gets one value per channel: Paddle returns it as it is, neither normalised nor scaled."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ppema.config import Config
from ppema.data import Batch, Loader
from ppema.errors import listed
from ppema.ir import backend, scope
from ppema.programs.eval_program import Model
from ppema.programs.executor import Executor
from ppema.programs.statistics import train_statistics
from ppema.ranks import Ranks


def warn_of_lone_samples(config: Config, executor: Executor, where: Any, model: Model, loader: Loader, ranks: Ranks) -> None:
    """Warn if a rank trains on a single sample of some batch, and a BatchNorm of the model has one value per channel then.

    where: the current scope, whose variables keep their values; loader: reads whole batches of the training data.
    """
    rest = loader.samples - (loader.steps_per_epoch - 1) * loader.batch_size
    last = min(rest, loader.batch_size)
    if _lone(loader.batch_size, ranks) and loader.steps_per_epoch > 1:
        which = "each batch"
    elif _lone(last, ranks):
        which = "the last batch of each epoch"
    else:
        return
    if places := _without_variance(config, executor, where, model, loader):
        what = f"{which} is" if ranks.size == 1 else f"one rank's part of {which} is"
        warnings.warn(
            f"data.train: {what} a single sample, so that BatchNorm has one value per channel, which Paddle neither normalises "
            f"nor scales ({listed(places)}): choose another batch_size, or drop_last: true",
            stacklevel=2,
        )


def _lone(size: int, ranks: Ranks) -> bool:
    """Whether a rank gets one of `size` samples."""
    return any(size * (rank + 1) // ranks.size - size * rank // ranks.size == 1 for rank in range(ranks.size))


def _without_variance(config: Config, executor: Executor, where: Any, model: Model, loader: Loader) -> list[str]:
    """The places of the trained BatchNorms' means that one sample has one value per channel for."""
    counts = {name: f"{name}.values" for name in sorted(train_statistics(config, loader.fields, model))}
    if not counts:
        return []
    program, _ = backend().clone(model.test.program, [])
    backend().count_values(program, counts)
    for count in counts.values():
        scope.create(where, count, np.zeros([], np.int64))
    batch = next(iter(loader.epoch(0)))
    one = Batch(tuple(array[:1] for array in batch.arrays), batch.indices[:1])
    executor.once(program, model.inputs.feed(one, loader), [])
    place_of = {name: place for place, name in model.structured.items()}
    return [
        place_of.get(name, name)
        for name, count in counts.items()
        if scope.get(where, count).item() == scope.get(where, name).size
    ]
