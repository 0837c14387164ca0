"""The page of a sweep."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppema.config.swept import Range, parse_swept
from ppema.config.tree.yaml_text import one_line_yaml
from ppema.errors import ConfigError
from ppema.experiments.pages.chart import Chart, Curve, Points, draw, fit
from ppema.experiments.pages.rendering import render
from ppema.experiments.pages.run_page import MOST_WARNINGS, commands_of, is_below, name_of, origins_of
from ppema.experiments.pages.run_processes import processes, warnings_of
from ppema.experiments.seed_statistics import mean_and_spread
from ppema.experiments.sweeps.sweep_folder import SWEEP, SweepResults, TrialResult, read_results
from ppema.log.history import Started
from ppema.log.records import measures_of, read_metrics

# The number of trials, from the best one down, whose curves are drawn.
DRAWN = 20
# As many curves have colours of their own, those of the other trials than the best one.
_COLORS = ("c1", "c3", "c4", "c5", "c6")
# From this ratio of the largest to the smallest value of a list on, an axis is logarithmic.
_DECADES = 20
# Characters of settings beside the name of a trial.
_SHORT = 20


@dataclass(frozen=True)
class SeedTable:
    """A metric of the best trial. rows: weights, the mean of the last figures over the seeds, and their spread."""

    metric: str
    rows: list[tuple[str, float | None, float | None]]


def sweep_page(path: str | os.PathLike[str]) -> str:
    """The page of the sweep in the folder `path`. Raises PpemaError if its results can not be read."""
    folder, results = Path(path), read_results(path)
    ranked = results.ranked()
    best = next((trial for trial in ranked if trial.number == results.best), None)
    runs = [Path(each.output) for trial in results.trials for each in trial.runs]
    history = {run: found for run in runs if (found := processes(run))}
    seconds = [each.seconds for found in history.values() for each in found if each.seconds is not None]
    # Trials that fail early leave no history; one that goes on has the start of its first process there.
    begun = [each.start.time for found in history.values() for each in found]
    begun += [each.started for each in results.trials if each.started is not None]
    ended = [each.end.time for found in history.values() for each in found if each.end is not None]
    ended += [each.ended for each in results.trials if each.ended is not None]
    shown = [Path(each.output) for each in best.runs] if best else runs
    start = next((history[run][-1].start for run in shown if run in history), None)
    said = _warnings(runs)
    curves = _curves(results, ranked)
    return render(
        "sweep.html",
        name=name_of(folder),
        output=str(folder),
        results=results,
        ranked=ranked,
        best=best,
        states=Counter(trial.state for trial in results.trials),
        keys=list(results.over),
        has_length=any(trial.length for trial in results.trials),
        numeric=[key for key in results.over if all(_is_number(trial.params.get(key)) for trial in ranked)],
        params={trial.number: {key: _text(key, trial) for key in results.over} for trial in ranked},
        charts=[each for each in (*_scatters(results), _in_order(results), curves) if each],
        drawn=len(curves.marks) if curves else 0,
        most_drawn=DRAWN,
        tables=_tables(best) if best else [],
        trained=sum(seconds),
        lasted=(max(ended) - min(begun)).total_seconds() if ended else None,
        begun=min(begun, default=None),
        start=start,
        origins=_origins(start, results),
        sweep_config=(folder / SWEEP).read_text(encoding="utf-8", errors="replace"),
        warnings=said[:MOST_WARNINGS],
        more_warnings=len(said) - MOST_WARNINGS,
        commands=commands_of(shown[0], start) if best and shown else None,
    )


def _text(key: str, trial: TrialResult) -> str:
    """The exact value of a swept key: rounded, decays of 0.99995 and 0.99999 would both be 1."""
    return one_line_yaml(trial.params[key]) if key in trial.params else "–"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _scatters(results: SweepResults) -> list[Chart | None]:
    """For each swept key, the value of each complete trial against that of the key."""
    found = []
    for index, key in enumerate(results.over):
        trials = [trial for trial in _measured(results) if key in trial.params]
        if not trials:
            continue
        values, swept = [trial.params[key] for trial in trials], _range_of(results.over[key])
        places, names = _places(values, swept)
        placed = list(zip(places, trials, strict=True))
        found.append(
            draw(
                f"key{index}",
                f"{results.monitor} by {key}",
                key,
                [_points(kind, placed, results) for kind in _KINDS],
                log_x=not names and _is_log(swept, places),
                whole_x=all(isinstance(each, int) for each in values),
                categories=names,
            )
        )
    return found


def _range_of(text: str) -> Range | None:
    """The range in the text of a swept key; None for a list of values."""
    try:
        swept = parse_swept(text)
    except ConfigError:
        return None
    return swept if isinstance(swept, Range) else None


def _measured(results: SweepResults) -> list[TrialResult]:
    """The trials with a value, which is of all seeds and steps."""
    return [trial for trial in results.trials if trial.state == "complete" and trial.value is not None]


def _places(values: Sequence[Any], swept: Range | None) -> tuple[list[float], list[str]]:
    """The place of each value on the axis, and the names of the places; [] for the axis of a range, or of a long list."""
    numbers, texts = all(map(_is_number, values)), list(map(one_line_yaml, values))
    names = list(dict.fromkeys(map(one_line_yaml, sorted(values)) if numbers else texts))
    if numbers and (swept is not None or not fit(names)):
        return list(values), []
    return [names.index(text) for text in texts], names


def _is_log(swept: Range | None, places: Sequence[float]) -> bool:
    """Whether an axis of numbers is logarithmic: as the user gave the range, or for a list of positive numbers far apart."""
    if swept is not None:
        return swept.kind == "log"
    return min(places) > 0 and max(places) / min(places) >= _DECADES


# Complete trials, and the best one.
_KINDS = ("c1", "best")


def _points(kind: str, placed: Sequence[tuple[float, TrialResult]], results: SweepResults) -> Points:
    chosen = [(x, trial.value) for x, trial in placed if (trial.number == results.best) == (kind == "best")]
    name = {"c1": "completed", "best": "best"}[kind]
    label = f"trial {results.best}" if kind == "best" else ""
    return Points(name, [x for x, _ in chosen], [value for _, value in chosen], kind, label)


def _in_order(results: SweepResults) -> Chart | None:
    """The value of each complete trial in the order of their numbers, and the best so far."""
    completed = _measured(results)
    best, so_far = None, []
    choose = min if results.mode == "min" else max
    for trial in completed:
        best = trial.value if best is None else choose(best, trial.value or 0.0)
        so_far.append(best)
    marks = [_points(kind, [(trial.number, trial) for trial in completed], results) for kind in _KINDS]
    line = Curve("best so far", [trial.number for trial in completed], so_far, "c2", "best so far", steps=True)
    return draw("order", f"{results.monitor} by trial", "trial", [line, *marks], whole_x=True)


def _curves(results: SweepResults, ranked: Sequence[TrialResult]) -> Chart | None:
    """The monitored metric over the epochs, for the first run of each of the best trials that have it.

    The best trial lies above the others. Few curves have colours and settings; of many, only the best one.
    """
    weights, _, metric = results.monitor.partition("/")
    measured: list[tuple[TrialResult, list[float], list[float | None]]] = []
    for trial in ranked:
        records = read_metrics(Path(trial.runs[0].output)) if trial.runs and len(measured) < DRAWN else []
        found = [each for each in records if each["kind"] == "eval" and each["weights"] == weights]
        if any(each.get(metric) is not None for each in found):
            measured.append((trial, [each["epoch"] for each in found], [each.get(metric) for each in found]))
    colors = iter(_COLORS if len(measured) <= len(_COLORS) + 1 else ())
    curves = []
    for trial, xs, ys in measured:
        style = "best" if trial.number == results.best else next(colors, "other")
        name, settings = f"trial {trial.number}", _settings(trial)
        label, key = (name, f"{name}: {settings}") if style != "other" else ("", "")
        curves.append(Curve(f"{name} ({settings})" if len(settings) <= _SHORT else name, xs, ys, style, label, key))
    return draw("best", f"{results.monitor} of the best trials", "epoch", curves[::-1])


def _settings(trial: TrialResult) -> str:
    """The values of the swept keys in few characters: `lr 0.01, decay 0.99`. Keys with the same last word are whole."""
    lasts = Counter(key.rpartition(".")[2] for key in trial.params)
    words = ((key, key.rpartition(".")[2], value) for key, value in trial.params.items())
    return ", ".join(f"{last if lasts[last] == 1 else key} {_rounded(value)}" for key, last, value in words)


def _rounded(value: Any) -> str:
    """A value with four digits, or as many as keep its distances to 0 and 1, which matters for a decay."""
    if not isinstance(value, float) or not math.isfinite(value):
        return one_line_yaml(value)
    texts = (f"{value:.{digits}g}" for digits in range(4, 18))
    return next(text for text in texts if abs(float(text) - value) <= 1e-3 * min(abs(value), abs(1 - value)))


def _tables(best: TrialResult) -> list[SeedTable]:
    """The metrics of the best trial over its seeds, after the last evaluation of each."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for each in best.runs:
        evaluated = [record for record in read_metrics(Path(each.output)) if record["kind"] == "eval"]
        lasts = {(name, record["weights"]): record[name] for record in evaluated for name in measures_of(record)}
        for (name, weights), value in lasts.items():
            found.setdefault(name, {}).setdefault(weights, []).append(value)
    return [
        SeedTable(metric, [(weights, *mean_and_spread(values)) for weights, values in by_weights.items()])
        for metric, by_weights in found.items()
    ]


def _origins(start: Started | None, results: SweepResults) -> list[tuple[str, str, str]]:
    """The keys that the trials share, with their origins."""
    every = origins_of(Path(results.output), start)
    return [(key, value, place) for key, value, place in every if not is_below(key, (*results.over, "seed", "output"))]


def _warnings(runs: Sequence[Path]) -> list[tuple[str, int]]:
    """The warnings of all runs, each with the number of runs that have it, most frequent first."""
    return Counter(text for run in runs for text, _ in warnings_of(run)).most_common()
