"""Compares runs: figures of the raw weights and of averages over seeds, time to a target, and tests of differences."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ppema.checkpoint.best import Mode, has_direction
from ppema.config import RAW
from ppema.environment import paddle_with
from ppema.errors import Naming, PpemaError, listed
from ppema.experiments.comparison.compared_rows import ComparedRow, Contrast, MeasuredRun
from ppema.experiments.comparison.compared_run import LOSS, ComparedRun, Evaluation
from ppema.experiments.comparison.comparison import Comparison, WhichEvaluation
from ppema.experiments.comparison.gathering import (
    RunGroup,
    check_metric,
    check_same_metrics,
    common_metrics,
    gather,
    grouped,
    other_data,
)
from ppema.experiments.comparison.paired_tests import holm, paired_test
from ppema.experiments.comparison.selection import chosen_baseline, selection
from ppema.experiments.comparison.settings import differing
from ppema.log.run import Run


def compare(
    runs: Iterable[Run | str | os.PathLike[str]],
    *,
    metric: str | Iterable[str] | None = None,
    weights: str | Iterable[str] | None = None,
    target: float | None = None,
    objective: WhichEvaluation = "last",
    mode: Mode | None = None,
    any_data: bool = False,
    intervals: bool = False,
    baseline: str | os.PathLike[str] | None = None,
) -> Comparison:
    """`ppema.api.compare`, whose arguments, result and errors are the same."""
    if objective not in ("last", "best"):
        raise PpemaError(Naming("{objective}: expected last or best, got {!r}", objective))
    if mode not in (None, "max", "min"):
        raise PpemaError(Naming("{mode}: expected max or min, got {!r}", mode))
    if target is not None and not (isinstance(target, int | float) and math.isfinite(target)):
        raise PpemaError(Naming("{target}: expected a number, got {!r}", target))
    given = [runs] if isinstance(runs, Run | str | os.PathLike) else list(runs)
    found, notes = gather(given)
    if data := other_data(found):
        if not any_data:
            raise PpemaError(
                Naming("figures of different samples can not be compared: {}; {any_data} compares them nevertheless", data)
            )
        notes.append(f"the runs are evaluated on different samples, so their figures may not be comparable: {data}")
    groups = grouped(found)
    metrics = _metrics(found, metric, notes)
    less = {name: _less(found, name) for name in metrics}
    if mode is not None and not has_direction(metrics[0]):
        less[metrics[0]] = mode == "min"
    if less[metrics[0]] is None and (target is not None or objective == "best"):
        raise PpemaError(Naming("{mode}: is {!r} best at its max or its min? Say which: max or min", metrics[0]))
    choice = _Choice(metrics[0], less[metrics[0]], objective, target)
    chosen = _weights(found, weights)
    rows = [
        ComparedRow(group.name, name, tuple(choice.measured(run, name) for run in group.runs if name in run.evaluations))
        for group in groups
        for name in chosen
        if any(name in run.evaluations for run in group.runs)
    ]
    shown = {row.group for row in rows}
    first = chosen_baseline([group for group in groups if group.name in shown], baseline, given, notes)
    contrasts = _contrasts(rows, metrics[0], first)
    notes += _notes(groups, rows, contrasts, choice)
    made = Comparison(
        metrics, less, objective, target, tuple(groups), tuple(rows), differing(groups), tuple(contrasts), tuple(notes)
    )
    if not intervals:
        return made
    paddle_with(found[0].config.runtime.threads)
    from ppema.experiments.comparison.sample_intervals import sample_intervals

    samples = sample_intervals(found, rows, contrasts, metrics, selection(found, objective))
    return replace(made, samples=samples, notes=(*made.notes, *samples.notes()))


class _Choice:
    """Which evaluations count: for the figures, and for the time to the target."""

    def __init__(self, metric: str, less: bool | None, objective: WhichEvaluation, target: float | None):
        self.metric, self.less, self.objective, self.target = metric, less, objective, target

    def measured(self, run: ComparedRun, weights: str) -> MeasuredRun:
        """One run of a row."""
        evaluations = run.evaluations[weights]
        at = self._best(evaluations) if self.objective == "best" else evaluations[-1]
        return MeasuredRun(run.name, run.seed, run.fold, run.is_finished, at, self._first(evaluations))

    def _best(self, evaluations: Sequence[Evaluation]) -> Evaluation:
        """The first of those with the best value, or the last evaluation if no value is finite."""
        finite = [(value, each) for each in evaluations if (value := each.figures.get(self.metric)) is not None]
        return (min if self.less else max)(finite, key=lambda pair: pair[0])[1] if finite else evaluations[-1]

    def _first(self, evaluations: Sequence[Evaluation]) -> Evaluation | None:
        """The first evaluation that reaches the target."""
        for each in evaluations if self.target is not None else ():
            value = each.figures.get(self.metric)
            if value is not None and self.target is not None and (value <= self.target if self.less else value >= self.target):
                return each
        return None


def _metrics(runs: Sequence[ComparedRun], asked: str | Iterable[str] | None, notes: list[str]) -> tuple[str, ...]:
    """The metrics to compare, the deciding one first."""
    if asked is not None:
        names = (asked,) if isinstance(asked, str) else tuple(dict.fromkeys(asked))
        if not names:
            raise PpemaError(Naming("{metric}: expected at least one metric"))
        for name in names:
            check_metric(runs, name)
        return names
    check_same_metrics(runs)
    found = common_metrics(runs)
    if not found:
        check_metric(runs, LOSS)
    if LOSS not in found and all(LOSS in run.figures.numbers for run in runs):
        notes.append("the loss is left out: the runs have different losses, whose values can not be compared")
    # Parts of metrics are too many for a table.
    return tuple(name for name in found if name == found[0] or "." not in name)


def _less(runs: Sequence[ComparedRun], metric: str) -> bool | None:
    found = {run.less_is_better(metric) for run in runs} - {None}
    return found.pop() if len(found) == 1 else None


def _weights(runs: Sequence[ComparedRun], asked: str | Iterable[str] | None) -> list[str]:
    """The names of weights to compare: as asked, or raw first, then averages in the order of the runs."""
    known = dict.fromkeys(name for run in runs for name in run.evaluations)
    if asked is None:
        return sorted(known, key=lambda name: name != RAW)
    names = [asked] if isinstance(asked, str) else list(dict.fromkeys(asked))
    for name in names or [""]:
        if name not in known:
            raise PpemaError(Naming("{weights}: no run has evaluations of {!r}; there are {}", name, ", ".join(known)))
    return names


def _contrasts(rows: Sequence[ComparedRow], metric: str, first: str) -> list[Contrast]:
    """Each average against the raw weights of its group, then each group against `first` with the same weights."""
    row_of = {(row.group, row.weights): row for row in rows}
    pairs = [(row, row_of.get((row.group, RAW))) for row in rows if row.weights != RAW]
    pairs += [(row, row_of.get((first, row.weights))) for row in rows if row.group != first]
    found = []
    for row, before in pairs:
        if before is None:
            continue
        old, new = ({run.repetition: run.at.figures.get(metric) for run in each.runs} for each in (before, row))
        sides = [[_number(side[each]) for each in old if each in new] for side in (old, new)]
        found.append(Contrast(row, before, paired_test(*sides)))
    adjusted = holm([each.test.p for each in found])
    return [replace(contrast, adjusted=p) for contrast, p in zip(found, adjusted, strict=True)]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _notes(
    groups: Sequence[RunGroup], rows: Sequence[ComparedRow], contrasts: Sequence[Contrast], choice: _Choice
) -> list[str]:
    """What a reader of the figures should know."""
    runs = [run for group in groups for run in group.runs]
    notes = []
    unfinished = ["{} (step {} of {})".format(run.name, *run.steps) for run in runs if not run.is_finished]
    if unfinished:
        notes.append(f"unfinished: {listed(unfinished)}")
    if choice.objective == "best":
        notes.append(
            f"figures are those of the evaluation with the best {choice.metric}; as it was chosen on the evaluation data, they "
            "are slightly too good"
        )
    for row in rows:
        lacking = [run.name for run in row.runs if run.at.figures.get(choice.metric) is None]
        if lacking:
            notes.append(f"{choice.metric} of {row.weights} is not finite in {listed(lacking)}")
    if any(len(row.reaching) not in (0, len(row.runs)) for row in rows) and choice.target is not None:
        notes.append("steps and seconds are means over the runs that reached the target")
    if choice.target is not None and any(run.reached and run.reached.seconds is None for row in rows for run in row.runs):
        notes.append("seconds are unknown for runs of earlier versions, and for runs that continue another run")
    return notes + _notes_on_tests(contrasts) + _notes_on_machines(runs)


def _notes_on_tests(contrasts: Sequence[Contrast]) -> list[str]:
    tests = [each.test for each in contrasts]
    unpaired = ["groups without a common seed have no pairs: train them with the same seeds"]
    unpaired *= any(test.n == 0 for test in tests)
    if not any(test.n > 1 for test in tests):
        single = any(test.n == 1 for test in tests)
        return [*unpaired, *(["one run of a seed shows no spread: nothing is tested"] if single else [])]
    least, number = min(test.n for test in tests if test.n > 1), sum(test.p is not None for test in tests)
    notes = [
        "interval and p are Student's, for normal differences; "
        + (f"Holm: p adjusted for {number} tests; " if number > 1 else "")
        + f"exact: p that assumes only symmetric differences, with {least} pairs at least {2 / 2**least:.3g}"
    ]
    if any(test.exact is not None and test.p is None for test in tests):
        notes.append("differences that are equal for all pairs have no spread, and so no interval and no p of Student's")
    notes += unpaired
    if any(run.fold is not None for contrast in contrasts for run in contrast.row.runs):
        notes.append("folds share training samples: intervals over folds are too narrow, and p is too small")
    return notes


def _notes_on_machines(runs: Sequence[ComparedRun]) -> list[str]:
    """One for each of versions, device, threads and processor that is not the same for all runs."""
    notes = []
    for word in dict.fromkeys(word for run in runs for word in run.environment):
        names: dict[str, list[str]] = {}
        for run in runs:
            names.setdefault(run.environment.get(word, "unknown"), []).append(run.name)
        if len(names) > 1:
            notes.append(f"{word} differs: " + "; ".join(f"{value} in {listed(each)}" for value, each in names.items()))
    return notes
