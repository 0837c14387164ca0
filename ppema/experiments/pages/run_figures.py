"""The figures of the evaluations of a run, by metric and weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ppema.checkpoint.best import mode_of, undirected, wants_less
from ppema.config import RAW, Config
from ppema.log.figure_texts import figure
from ppema.log.records import measures_of
from ppema.log.run import Run


@dataclass(frozen=True)
class WeightsFigure:
    """A number of one set of weights over a run. best: over all evaluations, after `best_step`; None without a direction.

    leads: whether `best` is the best of all weights.
    """

    weights: str
    last: float | None
    best: float | None = None
    best_step: int | None = None
    leads: bool = False


@dataclass(frozen=True)
class MeasuredMetric:
    """One metric of the evaluations. less: whether less is better, None if neither name nor config says so.

    curves: by weights, the epochs and the values.
    """

    name: str
    less: bool | None
    figures: list[WeightsFigure]
    curves: dict[str, tuple[list[float], list[float | None]]]


def measured(run: Run) -> list[MeasuredMetric]:
    """The metrics of the run's evaluations: the first monitored one, the others of the config, and the loss."""
    records = run.records.evaluations
    names = list(dict.fromkeys(name for record in records for name in measures_of(record)))
    monitors = run.config.train.monitors
    first = [monitor.partition("/")[2] for monitor in monitors]
    names.sort(key=lambda name: (first.index(name) if name in first else len(first), name == "loss"))
    return [_measured(name, records, monitors, run.config) for name in names]


def _measured(name: str, records: Sequence[Mapping[str, Any]], monitors: Sequence[str], config: Config) -> MeasuredMetric:
    mode = mode_of(name, monitors, config.train.mode)
    less = None if undirected([f"/{name}"], mode) else wants_less(name, mode)
    curves: dict[str, tuple[list[float], list[float | None]]] = {}
    found: dict[str, list[tuple[int, float | None]]] = {}
    for record in records:
        weights, value = record["weights"], record.get(name)
        xs, ys = curves.setdefault(weights, ([], []))
        xs.append(record["epoch"])
        ys.append(value)
        found.setdefault(weights, []).append((record["step"], value))
    figures = [_figure(weights, values, less) for weights, values in found.items()]
    bests = [figure.best for figure in figures if figure.best is not None]
    leader = None if less is None or not bests else min(bests) if less else max(bests)
    leading = [replace(each, leads=leader is not None and each.best == leader) for each in figures]
    return MeasuredMetric(name, less, leading, curves)


def _figure(weights: str, values: Sequence[tuple[int, float | None]], less: bool | None) -> WeightsFigure:
    numbers = [(step, value) for step, value in values if value is not None and math.isfinite(value)]
    if less is None or not numbers:
        return WeightsFigure(weights, values[-1][1])
    # Of equal values, the first is the best, as for checkpoints.
    step, best = min(numbers, key=lambda each: each[1] if less else -each[1])
    return WeightsFigure(weights, values[-1][1], best, step)


def verdict(found: Sequence[MeasuredMetric]) -> str:
    """The first metric in a sentence: the best of the averages against the raw weights; "" if there is nothing to compare."""
    if not found or found[0].less is None:
        return ""
    metric = found[0]
    raw = next((each for each in metric.figures if each.weights == RAW and each.best is not None), None)
    averages = [each for each in metric.figures if each.weights != RAW and each.best is not None]
    if raw is None or not averages:
        return ""
    sign = 1 if metric.less else -1
    best = min(averages, key=lambda each: sign * (each.best or 0.0))
    ahead, behind = sorted((raw, best), key=lambda each: sign * (each.best or 0.0))
    if raw.best == best.best:
        return f"Best {metric.name}: {figure(best.best)}, with {best.weights} and with {RAW}."
    words = (f"{figure(each.best)} with {each.weights} after step {each.best_step}" for each in (ahead, behind))
    return f"Best {metric.name}: {'; '.join(words)}."
