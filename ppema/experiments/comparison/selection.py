"""What of a comparison was chosen by the figures that it shows, and the group that others are compared with."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ppema.errors import Naming, PpemaError, listed
from ppema.experiments.comparison.compared_run import ComparedRun
from ppema.experiments.comparison.gathering import RunGroup
from ppema.experiments.sweeps.sweep_folder import is_sweep, read_results, trial_of
from ppema.log.run import Run


def chosen_baseline(
    groups: Sequence[RunGroup],
    asked: str | os.PathLike[str] | None,
    given: Sequence[Run | str | os.PathLike[str]],
    notes: list[str],
) -> str:
    """The name of the one of `groups` with which the others are compared. notes: receives what a reader should know about it.

    asked: a group, or the path of one of its runs. None: the best trial of a sweep that is given alone, else the first group.
    Raises PpemaError for a name of no group.
    """
    if asked is not None:
        name, place = os.fspath(asked), os.path.realpath(asked)
        for group in groups:
            if group.name == name or any(os.path.realpath(run.run.path) == place for run in group.runs):
                return group.name
        raise PpemaError(
            Naming("{baseline}: there is no group {!r}; there are {}", name, listed([group.name for group in groups], 10))
        )
    fewer = [group.name for group in groups if len(group.runs) < max(len(each.runs) for each in groups)]
    if fewer and any(_is_trial(run) for group in groups for run in group.runs):
        notes.append(f"trials with fewer seeds than others, such as pruned ones: {listed(fewer)}")
    if len(groups) > 1 and len(given) == 1 and not isinstance(given[0], Run) and (best := _best(groups, given[0])) is not None:
        group, monitor = best
        notes.append(f"the other trials are compared with {group}, the best one by {monitor}, which these figures chose")
        return group
    return groups[0].name


def selection(runs: Sequence[ComparedRun], objective: str) -> str:
    """What was chosen by figures on the evaluation samples, for a note; "" if nothing was."""
    if objective == "best":
        return "the evaluation of each run was"
    if any(_is_trial(run) for run in runs):
        return "the best trial of a sweep is"
    return "the end of a run with train.early_stop was" if any(run.config.train.early_stop is not None for run in runs) else ""


def _best(groups: Sequence[RunGroup], sweep: str | os.PathLike[str]) -> tuple[str, str] | None:
    """The group of the best trial, and the sweep's monitor. None without results."""
    try:
        results = read_results(sweep)
    except PpemaError:
        return None
    for group in groups:
        numbers = {trial[0] for run in group.runs if (trial := trial_of(run.run.path)) is not None}
        if results.best in numbers:
            return group.name, results.monitor
    return None


def _is_trial(run: ComparedRun) -> bool:
    path = run.run.path
    return trial_of(path) is not None and is_sweep(path.parent.parent)
