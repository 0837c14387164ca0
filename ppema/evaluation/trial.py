"""Tries a model on its data before anything is written: whether it runs, and whether its figures depend on the batch size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ppema.averaging.precision import HALF_TYPES
from ppema.checkpoint.best import FigureNames
from ppema.config import Config
from ppema.data import Batch, Loader
from ppema.ema.saved import read
from ppema.errors import ConfigError, DataError, TrainingError, listed
from ppema.evaluation.dependence import MISCOUNTED, ROUNDING, depends, flips, miscounts
from ppema.evaluation.evaluate import numbers
from ppema.ir import Parameter, scope
from ppema.losses import LOSSES
from ppema.metrics import METRICS, Counts, Figure, Gathered, Statistic, Weights
from ppema.programs.eval_program import Model, is_loss
from ppema.programs.executor import Executor

# A batch is compared with parts of these sizes. Built-in measures need only two samples: only the model can make them depend
# on the batch.
_PARTS, _PARTS_OF_OURS = (1, 2, 5), (1, 1)
# Counts of the user's own metrics are compared in these parts too. A count of the values above the batch's mean is about half
# of the batch in any large part, and 0 for a single sample.
_PARTS_OF_COUNTS = ((1, 2, 5, 8, 16), (1,) * 8)


Tried = dict[str, list[np.ndarray]]  # the statistics of one sample, by measure


def try_out(config: Config, executor: Executor, model: Model, loader: Loader) -> Tried:
    """Run the test program, which changes no variable, on one sample of `loader`, and check all labels in memory.

    Paddle checks some shapes only at run time, and never checks labels. Raises ConfigError and DataError.
    """
    model.inputs.check_all(loader)
    batch = next(iter(loader.epoch(0)))
    model.inputs.feed(batch, loader)  # checks the labels of all its samples
    values = iter(_run(config, executor, model, loader, _slice(batch, 0, 1)))
    return {name: [next(values) for _ in measure.statistics] for name, measure in model.test.measures.items()}


def figure_names(config: Config, model: Model, tried: Tried) -> FigureNames:
    """The names of the figures of `model`. Raises ConfigError for a metric that fails on one sample."""
    found: dict[str, Figure] = {}
    for name, measure in model.test.measures.items():
        with config.at(*(() if is_loss(name) else ("metrics", _metrics(model).index(name)))):
            gathered = Gathered()
            measure.gather(gathered, 0, 1, tried[name])
            found |= measure.figures(gathered)
    of_numbers = list(numbers(found))
    return FigureNames(of_numbers, [name for name in found if name not in of_numbers])


def _statistics(model: Model) -> list[tuple[str, Statistic]]:
    """The statistics that a run of the test program returns, each with the name of its measure."""
    return [(name, each) for name, measure in model.test.measures.items() for each in measure.statistics.values()]


def _is_half(model: Model) -> bool:
    return any(parameter.dtype in HALF_TYPES for parameter in model.parameters)


def _metrics(model: Model) -> list[str]:
    """The names of the measures that are metrics, in the order of the config."""
    return [name for name in model.test.measures if not is_loss(name)]


def loss_is_a_mean(
    config: Config, executor: Executor, where: Any, model: Model, loader: Loader, *, accumulates: bool = False
) -> bool:
    """Compare the measures of the first samples of `loader` in one batch with those in smaller batches.

    Returns whether the loss can be evaluated. A loss that is no mean over samples can not: its mean over a data set would
    depend on the batch size. Warns about such a loss, and about predictions that depend on the batch, its padding or a collate
    function of the user. Raises ConfigError for a metric that depends on the batch. where: the current scope, whose initial
    weights stay as they are.
    accumulates: a step takes the mean of its micro-batches, or of the parts of ranks. A loss that is no mean over samples then
    raises ConfigError too, because the step would have another gradient: that of a sum would be divided by their number.
    """
    measures = list(model.test.measures)
    losses = [name for name in measures if is_loss(name)]
    named = {f"loss.{name}" if name else "loss": name for name in config.loss_parts}
    ours = {figure for figure, name in named.items() if config.loss_parts[name].name in LOSSES}
    if len(ours) == len(named):
        ours.add("loss")
    ours |= {name for name, spec in zip(_metrics(model), config.metrics, strict=True) if spec.name in METRICS}
    parts = _PARTS if ours < set(measures) else _PARTS_OF_OURS
    counts = any(isinstance(each, Counts) for name, each in _statistics(model) if name not in ours)
    if _padding_counts(config, executor, where, model, loader, sum(parts)):
        _warn(
            "the padding of a batch changes the figures of its samples, so that they depend on data.eval.batch_size: the model "
            "needs a mask for padded inputs, the loss and the metrics an ignored label or a mask for padded targets"
        )
    if _collate_counts(config, executor, where, model, loader):
        _warn(
            "data.collate gives a sample other arrays beside other samples, which changes its figures, so that they depend on "
            "data.eval.batch_size: mask what it pads, cut to a fixed length, and draw nothing"
        )
    differ: list[str] = []
    for split in (parts, *(_PARTS_OF_COUNTS if counts else ())):
        found = _differing(config, executor, where, model, loader, split)
        differ += [name for name in found if name not in differ]
    if not ours.isdisjoint(differ):
        _warn(
            "the model's predictions of a sample depend on the other samples of its batch: all figures of evaluation depend "
            "on data.eval.batch_size"
        )
        return True
    wrong = [name for name in differ if name not in losses]
    if wrong:
        with config.at("metrics", _metrics(model).index(wrong[0])):
            raise ConfigError.of(
                f"{wrong[0]} of a sample depends on the other samples of its batch, so that its mean depends on "
                "data.eval.batch_size: return one value per sample, of shape [N], each of its own sample alone"
            )
    partial = {named[name]: config.loss_parts[named[name]].name for name in differ if name in named}
    if partial and accumulates:
        with config.at_loss(next(iter(partial))):
            raise ConfigError.of(
                f"{next(iter(partial.values()))} is no mean over samples, so that micro-batches and ranks can not be "
                "averaged: return one value per sample, of shape [N], or set train.accumulate to 1 and train in one process"
            )
    if differ:
        _warn(
            f"the loss {listed(list(partial.values()))} is no mean over samples: its figure over "
            "data.eval would depend on the batch size. "
            "Training uses it, evaluation leaves it out; a loss that returns one value per sample, of shape [N], is evaluated"
        )
    return not differ


def _differing(config: Config, executor: Executor, where: Any, model: Model, loader: Loader, parts: Sequence[int]) -> list[str]:
    """The names of the measures whose values change if one batch is split into batches of the sizes `parts`."""
    batch = _first(loader, min(sum(parts), max(loader.batch_size, sum(_PARTS))))
    size, starts = len(batch.indices), np.cumsum((0, *parts[:-1]))
    sizes = [min(part, size - start) for start, part in zip(starts, parts, strict=True) if start < size]
    with _varied(where, model.parameters):
        together = _run(config, executor, model, loader, batch)
        apart = [
            _run(config, executor, model, loader, _slice(batch, start, part))
            for start, part in zip(starts, sizes, strict=False)
        ]
    half = _is_half(model)
    differing = []
    for (name, statistic), *values in zip(_statistics(model), together, *apart, strict=True):
        first, *others = (np.asarray(each, dtype=np.float64) for each in values)
        if isinstance(statistic, Counts):
            differs = miscounts(first, others, size, MISCOUNTED[half])
        else:
            differs = depends(first, others, sizes, ROUNDING[half])
        if differs and name not in differing:
            differing.append(name)
    return differing


def _padding_counts(config: Config, executor: Executor, where: Any, model: Model, loader: Loader, samples: int) -> bool:
    """Whether the measures of the first samples of `loader` change if their batch has more padding."""
    batch = _first(loader, samples)
    longer = loader.longer(batch)
    if longer is None:
        return False
    with _varied(where, model.parameters):
        try:
            before, after = (_run(config, executor, model, loader, each) for each in (batch, longer))
        except (ConfigError, DataError):  # the model has a largest length
            return False
    rounding = ROUNDING[_is_half(model)]
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(before, after, strict=True)]
    return any(a.shape == b.shape and flips(b, a, rounding) for a, b in pairs)


def _collate_counts(config: Config, executor: Executor, where: Any, model: Model, loader: Loader) -> bool:
    """Whether the measures of the first samples of `loader` depend on the samples that are collated with them.

    Both values of a sample are measured in a batch of one, so that model and loss see no other sample.
    """
    try:
        read = loader.together_and_alone(sum(_PARTS))
    except DataError:  # the function refuses another batch than those of the evaluation
        return False
    if read is None:
        return False
    pairs = [(_slice(read[0], position, 1), alone) for position, alone in enumerate(read[1])]
    changed = [pair for pair in pairs if any(map(_unequal, *(each.arrays for each in pair)))]
    with _varied(where, model.parameters):
        try:
            runs = [[_run(config, executor, model, loader, each) for each in pair] for pair in changed]
        except (ConfigError, DataError):  # the model has a least length
            return False
    half = _is_half(model)
    for position, (_, statistic) in enumerate(_statistics(model)):
        values = [[np.asarray(run[position], np.float64) for run in pair] for pair in runs]
        both = [[each.ravel() for each in pair] for pair in values if pair[0].shape == pair[1].shape]
        if not both:
            continue
        within, alone = map(np.concatenate, zip(*both, strict=True))
        if isinstance(statistic, Counts):
            counts = miscounts(within, [alone], len(runs), MISCOUNTED[half])
        else:
            counts = flips(within, alone, ROUNDING[half])
        if counts:
            return True
    return False


def _unequal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape != b.shape or a.tobytes() != b.tobytes()


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)


@contextmanager
def _varied(where: Any, parameters: Sequence[Parameter]) -> Iterator[None]:
    """Fills constant matrices of the scope with noise, and restores them at the end.

    A last layer of zeros would hide any difference between samples.
    """
    names = [each.name for each in parameters if each.trainable and each.dtype == "float32" and len(each.shape) > 1]
    constant = {name: value for name, value in read(where, names).items() if value.size and value.min() == value.max()}
    noise = np.random.default_rng(0).normal(size=4093).astype("float32")
    filled = {name: np.resize(noise, value.shape) / np.float32(value.shape[0] ** 0.5) for name, value in constant.items()}
    scope.put(where, filled)
    try:
        yield
    finally:
        scope.put(where, constant)


def _run(config: Config, executor: Executor, model: Model, loader: Loader, batch: Batch) -> list[np.ndarray]:
    with config.at("model"):
        try:
            values = executor.once(model.test.program, model.inputs.feed(batch, loader), model.test.variables)
        except TrainingError as error:
            raise ConfigError.of(f"model, loss and metrics do not run on the data: {error}") from error
    for (name, statistic), weights in zip(_statistics(model), values, strict=True):
        if isinstance(statistic, Weights) and not (name == "loss" and config.losses):  # each part has a measure of its own
            _check_weights(config, model, name, weights, batch.indices, loader.label)
    return values


def _check_weights(config: Config, model: Model, name: str, weights: np.ndarray, indices: np.ndarray, label: str) -> None:
    """Raises ConfigError for a weight of the measure `name` that is not finite or negative. indices: of the samples."""
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        at = config.at_loss(name.partition(".")[2]) if is_loss(name) else config.at("metrics", _metrics(model).index(name))
        with at:
            raise ConfigError.of(
                f"{name}: a weight of sample {indices[wrong[0]]} of {label} is negative or not finite: `Weighted` requires "
                "weights that are finite and at least 0"
            )


def _first(loader: Loader, samples: int) -> Batch:
    """The first `samples` samples of epoch 0 in one batch; all of them if there are fewer.

    Batches of different shapes can not be put together: then the samples are those of the first batch.
    """
    if any(-1 in field.shape for field in loader.fields):
        return _slice(next(iter(loader.epoch(0))), 0, samples)
    batches: list[Batch] = []
    for batch in loader.epoch(0):
        batches.append(batch)
        if sum(len(each.indices) for each in batches) >= samples:
            break
    arrays = tuple(np.concatenate(parts)[:samples] for parts in zip(*(each.arrays for each in batches), strict=True))
    return Batch(arrays, np.concatenate([each.indices for each in batches])[:samples])


def _slice(batch: Batch, start: int, size: int) -> Batch:
    return Batch(tuple(array[start : start + size] for array in batch.arrays), batch.indices[start : start + size])
