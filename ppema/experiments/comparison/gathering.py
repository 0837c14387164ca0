"""The runs of a comparison: found by their paths, grouped by their settings, and checked to be comparable."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppema.errors import Naming, PpemaError, listed
from ppema.experiments.comparison.compared_run import LOSS, ComparedRun
from ppema.experiments.sweeps.sweep_folder import has_one_trial, is_sweep, runs_of, trial_of
from ppema.log.run import Run
from ppema.log.run import run as read_run


@dataclass(frozen=True)
class RunGroup:
    """Runs that repeat one experiment: their configs differ only in seed, fold, output, threads and device.

    name: a short one.
    """

    name: str
    runs: tuple[ComparedRun, ...]


def gather(given: Iterable[Run | str | os.PathLike[str]]) -> tuple[list[ComparedRun], list[str]]:
    """The runs of the comparison, each once, and notes about those that are left out.

    given: runs, paths of runs, and paths of sweeps, whose unfinished runs are left out. Raises PpemaError for anything else,
    for a run without evaluations, and for a run that is given twice.
    """
    if isinstance(given, Run | str | os.PathLike):
        given = [given]
    runs: list[ComparedRun] = []
    notes: list[str] = []
    for each in given:
        if isinstance(each, Run):
            runs.append(ComparedRun(str(each.path), each))
        elif not isinstance(each, str | os.PathLike):
            raise PpemaError(f"expected runs, or paths of runs and sweeps; got a {type(each).__name__}")
        elif is_sweep(each):
            found = [ComparedRun(str(path), run) for path in runs_of(each) if (run := read_run(path)).records.evaluations]
            finished = [run for run in found if run.is_finished]
            if not finished:
                raise PpemaError(f"{os.fspath(each)}: no run of the sweep has finished yet")
            if left := [path.name for path in runs_of(each) if str(path) not in {run.name for run in finished}]:
                notes.append(f"{os.fspath(each)}: unfinished runs are left out: {listed(left)}")
            runs += finished
        else:
            runs.append(ComparedRun(os.fspath(each), read_run(each)))
    if not runs:
        raise PpemaError("expected at least one run")
    names: dict[str, str] = {}
    for run in runs:
        place = os.path.realpath(run.name)
        if place in names:
            raise PpemaError(f"{names[place]} and {run.name} are the same run: name it once")
        names[place] = run.name
    return runs, notes


def grouped(runs: Sequence[ComparedRun]) -> list[RunGroup]:
    """The groups, in the order of their first runs. Raises PpemaError for two runs that repeat each other exactly."""
    found: dict[str, list[ComparedRun]] = {}
    for run in runs:
        found.setdefault(json.dumps(run.settings, sort_keys=True), []).append(run)
    for group in found.values():
        first: dict[str, str] = {}
        for run in group:
            if run.repetition in first:
                raise PpemaError(
                    f"{first[run.repetition]} and {run.name} are one experiment with {run.repetition}: equal seeds, also with "
                    "other threads or on another device, are no repetitions; leave one out"
                )
            first[run.repetition] = run.name
    names = _short_names([_folders(group) for group in found.values()])
    return [RunGroup(name, tuple(group)) for name, group in zip(names, found.values(), strict=True)]


def check_metric(runs: Sequence[ComparedRun], metric: str) -> None:
    """Raise PpemaError unless `metric` is measured in all runs, and by the same definition."""
    faults = {run.name: fault for run in runs if (fault := run.figures.fault(metric))}
    if len(faults) == len(runs):
        name, fault = next(iter(faults.items()))
        raise PpemaError(Naming("{metric} {}: {}: {}", metric, name, fault))
    if faults:
        having = [run.name for run in runs if run.name not in faults]
        shared = ", ".join(common_metrics(runs)) or "none"
        raise PpemaError(
            Naming(
                "{metric}: {!r} is measured in {}, but not in {}; measured in all runs: {}",
                metric,
                listed(having),
                listed(list(faults)),
                shared,
            )
        )
    if other := _defined_otherwise(runs, metric):
        raise PpemaError(
            Naming(
                "{metric}: {!r} of {} is not that of {}: their configs define it differently, so that its values can not be "
                "compared; see the keys {}",
                metric,
                other.name,
                runs[0].name,
                "loss and losses" if metric.partition(".")[0] == LOSS else "of its entry in metrics",
            )
        )


def common_metrics(runs: Sequence[ComparedRun]) -> list[str]:
    """The metrics that all runs measure by the same definition, the monitored one first if there is one for all."""
    names = [
        name
        for name in runs[0].figures.numbers
        if all(name in run.figures.numbers for run in runs) and not _defined_otherwise(runs, name)
    ]
    monitored = {run.monitored for run in runs}
    first = monitored.pop() if len(monitored) == 1 else None
    if first not in names:
        first = next((name for name in names if name.partition(".")[0] != LOSS), None)
    return names if first is None else [first, *(name for name in names if name != first)]


def check_same_metrics(runs: Sequence[ComparedRun]) -> None:
    """Raise PpemaError unless all runs measure the same metrics, by the same definitions. Losses may differ."""
    names = dict.fromkeys(name for run in runs for name in run.figures.numbers)
    for name in names:
        if name.partition(".")[0] != LOSS:
            check_metric(runs, name)


def _defined_otherwise(runs: Sequence[ComparedRun], metric: str) -> ComparedRun | None:
    """The first run whose `metric` is defined by another section than in the first one."""
    first = runs[0].definition(metric)
    return next((run for run in runs if run.definition(metric) != first), None)


def other_data(runs: Sequence[ComparedRun]) -> str:
    """The difference between the evaluation data of two runs, in words; "" if all of them name the same."""
    first = runs[0].evaluated_on
    for run in runs:
        for key, value in run.evaluated_on.items():
            if first.get(key) != value:
                here, there = (_shown(each.get(key)) for each in (first, run.evaluated_on))
                return f"{key} is {here} in {runs[0].name} and {there} in {run.name}"
    return ""


def _shown(value: Any) -> str:
    return "absent" if value is None else json.dumps(value)


def _folders(group: Sequence[ComparedRun]) -> list[Path]:
    """The folders that give a group its name: those of its runs, or that of the sweep whose only trial it is."""
    folders = [Path(os.path.abspath(run.name)) for run in group]
    sweep = folders[0].parent.parent
    alone = all(trial_of(each) and each.parent.parent == sweep for each in folders) and has_one_trial(sweep)
    return [sweep] if alone else folders


def _short_names(groups: Sequence[Sequence[Path]]) -> list[str]:
    """A name for each group of folders: what their names have in common, with the folders above where that is ambiguous."""
    parts = [_common(group) for group in groups]
    shown = [1] * len(parts)
    while True:
        names = ["/".join(each[-count:]) for each, count in zip(parts, shown, strict=True)]
        longer = [index for index, name in enumerate(names) if names.count(name) > 1 and shown[index] < len(parts[index])]
        if not longer:
            break
        for index in longer:
            shown[index] += 1
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if names.count(name) > 1:
            names[index] = f"{name} ({seen[name]})"
    return names


def _common(group: Sequence[Path]) -> tuple[str, ...]:
    """The parts of the path of a group. Its last part is what the names of the folders have in common, without "seed"."""
    first = group[0]
    if len(group) == 1:
        return first.parts[1:]
    names = [path.name for path in group]
    shared = next((n for n, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), min(map(len, names)))
    stem = names[0][:shared]
    if any(name[shared : shared + 1].isdecimal() for name in names):
        # Seeds 42 and 43 have the digit 4 in common, which is no part of a name.
        stem = stem.rstrip("0123456789")
    stem = re.sub(r"(^|[-_.])(s|seed)?[-_.=]?$", "", stem)
    return (*first.parent.parts[1:], stem) if stem else first.parent.parts[1:] or first.parts[1:]
