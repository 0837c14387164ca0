"""The folder of a sweep: the names of its files, the runs in it, and results.json."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ppema.checkpoint.best import Mode
from ppema.checkpoint.durable import replace_file
from ppema.config import load_config
from ppema.errors import PpemaError, TrainingError
from ppema.log.records import finite
from ppema.log.run import run

SWEEP = "sweep.yml"  # the resolved base config with the section `sweep`
JOURNAL = "study.journal"  # of Optuna, unless another storage is named
PLACE = "place"  # a random id of the folder, where machines share another storage
TRIALS = "trials"
RESULTS = "results.json"
REPORT = "report.html"
PROCESS_LOG = "process.log"  # in the folder of a run: stdout and stderr of its process

SearchMethod = Literal["grid", "random", "tpe"]
TrialState = Literal["complete", "pruned", "failed", "running", "waiting"]
_TRIAL = re.compile(r"([0-9]{4,})-s([0-9]+)")
# A figure of a run is null if it is missing or not finite.
_Figure = Annotated[float, Field(allow_inf_nan=False)] | None


class BestLength(BaseModel):
    """The best length of a post-hoc average.

    name: as `ppema.average` names it; sigma_rel: its width relative to the run; value: of the sweep's metric.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    sigma_rel: float
    value: _Figure


class RunResult(BaseModel):
    """One run of a trial. output: its folder; value: of the monitored metric after `step`; length: null unless searched."""

    model_config = ConfigDict(frozen=True)

    seed: int
    output: str
    value: _Figure = None
    step: int | None = None
    state: TrialState
    length: BestLength | None = None


class TrialResult(BaseModel):
    """One point of the search space.

    params: the values of the swept keys; value: the mean over its runs, null unless it is complete; spread: their sample
    standard deviation, null for a single run; length: with the best mean over its runs; error: of the first failed run;
    started: when it began, or went on; ended: null while it runs or waits.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    state: TrialState
    params: dict[str, Any]
    value: _Figure = None
    spread: _Figure = None
    length: BestLength | None = None
    runs: tuple[RunResult, ...] = ()
    error: str | None = None
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None


class SweepResults(BaseModel):
    """The content of results.json.

    output: the folder of the sweep; config: the path of its config; over: the swept keys, with their ranges as text;
    best: the number of the best complete trial, null if there is none.
    """

    model_config = ConfigDict(frozen=True)

    output: str
    config: str
    method: SearchMethod
    monitor: str
    mode: Mode
    over: dict[str, str]
    seeds: tuple[int, ...]
    trials: tuple[TrialResult, ...]
    best: int | None = None

    def ranked(self) -> list[TrialResult]:
        """The complete trials, best first, then the others in the order of their numbers."""
        sign = 1 if self.mode == "min" else -1

        def rank(trial: TrialResult) -> tuple[bool, bool, float, int]:
            value = trial.value if trial.state == "complete" else None
            return trial.state != "complete", value is None, sign * (value or 0.0), trial.number

        return sorted(self.trials, key=rank)

    def chosen_among(self) -> str | None:
        """Among what data.eval chose the best trial, in words: its value is the best of many, and so too good on average.

        None if there was no choice.
        """
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        chosen = [f"{len(complete)} trials"] if len(complete) > 1 else []
        if any(trial.length for trial in complete):
            chosen.append("lengths of an average")
        return " and ".join(chosen) or None


def best_trial(trials: Sequence[TrialResult], mode: Mode) -> int | None:
    """The number of the complete trial with the best value, of equal ones the first; None if no trial has a value."""
    sign = 1 if mode == "min" else -1
    found = [(sign * each.value, each.number) for each in trials if each.state == "complete" and each.value is not None]
    return min(found)[1] if found else None


def trial_folder(sweep: str | os.PathLike[str], number: int, seed: int) -> Path:
    """The folder of the run of trial `number` with `seed`."""
    return Path(sweep) / TRIALS / f"{number:04d}-s{seed}"


def trial_of(folder: Path) -> tuple[int, int] | None:
    """The number of the trial and the seed in the name of a run's folder; None for any other name."""
    match = _TRIAL.fullmatch(folder.name)
    return (int(match[1]), int(match[2])) if match else None


def is_sweep(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is the folder of a sweep."""
    return os.path.isfile(os.path.join(path, SWEEP))


def has_one_trial(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is the folder of a sweep of a single trial: a config over its seeds."""
    try:
        section = load_config(Path(path) / SWEEP).sweep
    except PpemaError:
        return False
    return section is not None and section.trials == 1


def runs_of(path: str | os.PathLike[str]) -> list[Path]:
    """The folders of runs at `path`: that of a run is itself, a sweep has those of its trials, in order of number and seed.

    A trial whose run has not begun is left out. Raises PpemaError if `path` is neither a run nor a sweep.
    """
    if not is_sweep(path):
        return [run(path).path]
    try:
        found = {key: each for each in (Path(path) / TRIALS).iterdir() if (key := trial_of(each))}
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PpemaError(f"{error.filename}: it can not be read: {error.strerror}") from error
    return [found[key] for key in sorted(found) if (found[key] / "config.yml").is_file()]


def write_results(results: SweepResults) -> None:
    """Replace results.json in the folder of the sweep, atomically. Raises TrainingError if it can not be written."""
    file = Path(results.output) / RESULTS
    text = json.dumps(finite(results.model_dump(mode="json")), indent=1)
    try:
        replace_file(file, f"{text}\n".encode())
    except OSError as error:
        raise TrainingError(f"{file}: the results could not be written: {error.strerror}") from error


def read_results(path: str | os.PathLike[str]) -> SweepResults:
    """The results of the sweep in the folder `path`, whose runs are looked up in this folder even if it was moved.

    Raises PpemaError if there is no results.json, or if it is damaged.
    """
    file = Path(path) / RESULTS
    try:
        found = SweepResults.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        problem = "no trial has ended yet" if is_sweep(path) else "this is no folder of a sweep"
        raise PpemaError(f"{file}: there is no such file: {problem}") from error
    except OSError as error:
        raise PpemaError(f"{file}: it can not be read: {error.strerror}") from error
    except ValidationError as error:
        raise PpemaError(f"{file}: damaged, or not of ppema: {error.errors(include_url=False)[0]['msg']}") from error
    trials = tuple(moved(trial, path) for trial in found.trials)
    return found.model_copy(update={"output": os.fspath(path), "trials": trials})


def moved(trial: TrialResult, sweep: str | os.PathLike[str]) -> TrialResult:
    """`trial` with its runs in the folder `sweep`, which may have another name than when they ended."""
    runs = (each.model_copy(update={"output": str(trial_folder(sweep, trial.number, each.seed))}) for each in trial.runs)
    return trial.model_copy(update={"runs": tuple(runs)})
