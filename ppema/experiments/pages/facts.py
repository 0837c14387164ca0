"""What a report says of a run: the figures of its weights, the origin of its config, its processes and its warnings."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ppema.checkpoint.best import mode_of, undirected, wants_less
from ppema.checkpoint.lock import holder
from ppema.config import RAW, Config
from ppema.log.history import Ended, Started, read_history
from ppema.log.records import measures_of
from ppema.log.run import Run

_WARNING = "warning: "


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


@dataclass(frozen=True)
class Process:
    """One process of a run. ended: in words; seconds: None if it was killed, or still runs."""

    start: Started
    end: Ended | None
    ended: str
    seconds: float | None


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
        return f"Best {metric.name}: {short(best.best)}, with {best.weights} and with {RAW}."
    words = (f"{short(each.best)} with {each.weights} after step {each.best_step}" for each in (ahead, behind))
    return f"Best {metric.name}: {'; '.join(words)}."


def short(value: float | None) -> str:
    """A figure for people: four decimals, or four digits if they would hide it."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.4g}"


def spread(value: float | None) -> str:
    """A standard deviation for people, beside figures with four decimals."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if value >= 5e-5 or value == 0 else f"{value:.1g}"


def processes(output: Path) -> list[Process]:
    """The processes of a run or a sweep, in order. Raises SetupError if its history can not be read."""
    found, records = [], read_history(output)
    for index, record in enumerate(records):
        if isinstance(record, Started):
            after = records[index + 1] if index + 1 < len(records) else None
            end = after if isinstance(after, Ended) else None
            running = after is None and holder(output) is not None
            seconds = None if end is None else (end.time - record.time).total_seconds()
            found.append(Process(record, end, _ended(end, running), seconds))
    return found


def _ended(end: Ended | None, running: bool) -> str:
    if end is None:
        return "running" if running else "killed"
    if end.error is not None:
        return f"failed: {end.error}"
    return "done" if end.signal is None else f"stopped by signal {end.signal}"


def warnings_of(output: Path) -> list[tuple[str, int]]:
    """The warnings in the run's log.txt, each with its number of times."""
    lines: list[str] = []
    with suppress(OSError):
        lines = (output / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    return list(Counter(line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)).items())


def lasting(found: Sequence[Process]) -> str:
    """How long the processes took together, in words; "" if it is not known of any."""
    known = [each.seconds for each in found if each.seconds is not None]
    if not known:
        return ""
    return ("at least " if len(known) < len(found) else "") + span(sum(known))


def span(seconds: float) -> str:
    """12 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def speed(run: Run) -> float | None:
    """The median of the logged samples per second; None if none is logged."""
    rates = [each.get("samples_per_second") for each in run.records.train]
    found = [rate for rate in rates if rate is not None]
    return statistics.median(found) if found else None
