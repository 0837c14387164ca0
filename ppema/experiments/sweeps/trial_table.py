"""The results of a sweep, from Optuna's records of its trials."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ppema.experiments.seed_statistics import mean_and_spread
from ppema.experiments.sweeps.search.best_length import SearchedLength, best_length
from ppema.experiments.sweeps.search.space import Space
from ppema.experiments.sweeps.sweep_folder import RunResult, SweepResults, TrialResult, TrialState, best_trial, moved
from ppema.experiments.sweeps.trial_runs import ERROR, LENGTHS, RUNS

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_STATES: dict[str, TrialState] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


def results_of(space: Space, folder: Path, trials: Sequence[FrozenTrial]) -> SweepResults:
    """The results of the sweep in `folder` after `trials`."""
    found = tuple(moved(result_of(space, trial), folder) for trial in trials)
    return SweepResults(
        output=str(folder),
        config=space.path,
        method=space.method,
        monitor=space.monitor,
        mode=space.mode,
        over={key: str(each) for key, each in space.over.items()},
        seeds=space.seeds,
        trials=found,
        best=best_trial(found, space.mode),
    )


def result_of(space: Space, trial: FrozenTrial) -> TrialResult:
    """The result of one trial."""
    ended = trial.user_attrs.get(RUNS, ())
    lengths = [[SearchedLength.model_validate(length) for length in each.get(LENGTHS, ())] for each in ended]
    runs = tuple(
        RunResult.model_validate({**each, "length": best_length([found], space.mode)})
        for each, found in zip(ended, lengths, strict=True)
    )
    error = trial.user_attrs.get(ERROR)
    # A trial of TPE that diverged is a pruned one for Optuna.
    state = "failed" if error is not None and trial.state.is_finished() else _STATES[trial.state.name]
    # A pruned trial ends within a run: its figures are of fewer steps or seeds than those of others.
    complete = state == "complete"
    value, spread = mean_and_spread([each.value for each in runs]) if complete else (None, None)
    return TrialResult(
        number=trial.number,
        state=state,
        params=space.from_optuna(trial.params),
        value=value,
        spread=spread,
        length=best_length(lengths, space.mode) if complete else None,
        runs=runs,
        error=error,
        started=_with_offset(trial.datetime_start),
        ended=_with_offset(trial.datetime_complete),
    )


def _with_offset(time: datetime | None) -> datetime | None:
    """A local time of Optuna, which has no offset, with that of this machine, in whole seconds."""
    return None if time is None else time.astimezone().replace(microsecond=0)
