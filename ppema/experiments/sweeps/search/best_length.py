"""The best length of a post-hoc average of one run, and over all runs of a trial, from the tables of `ppema.average`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ppema.checkpoint.best import Mode
from ppema.experiments.sweeps.sweep_folder import BestLength

# The name of the files in <run>/averages.
SEARCHED = "sweep"
_FAR = 1.0  # the profile error above which a length cannot win, as in `ppema.posthoc.candidates`


class SearchedLength(BaseModel):
    """A length that can win, in one run. value: of the sweep's metric; loss: 0 if it is not measured."""

    model_config = ConfigDict(frozen=True)

    name: str
    sigma_rel: float
    value: float
    loss: float


class _Candidate(BaseModel):
    # A null is NaN.
    name: str
    length: float
    metrics: dict[str, float | None]
    error: float | None


class _Candidates(BaseModel):
    rows: tuple[_Candidate, ...]


def searched_lengths(output: Path, metric: str) -> tuple[SearchedLength, ...]:
    """The lengths of the run in `output` that can win: neither NaN, nor far off. () if they were not searched."""
    try:
        table = _Candidates.model_validate_json((output / "averages" / f"{SEARCHED}.json").read_bytes())
    except (OSError, ValidationError):
        return ()
    found = []
    for row in table.rows:
        value = row.metrics.get(metric)
        if value is not None and row.error is not None and row.error <= _FAR:
            loss = row.metrics.get("loss") or 0.0
            found.append(SearchedLength(name=row.name, sigma_rel=row.length, value=value, loss=loss))
    return tuple(found)


def best_length(runs: Sequence[Sequence[SearchedLength]], mode: Mode) -> BestLength | None:
    """The length with the best mean over `runs`, the lengths of each; of equal ones, that with the least loss.

    None if there are no runs, or if no length can win in each of them.
    """
    sign = 1 if mode == "min" else -1
    found = []
    for first in runs[0] if runs else ():
        same = [each for lengths in runs for each in lengths if each.sigma_rel == first.sigma_rel]
        if len(same) == len(runs):
            mean, loss = (statistics.fmean(values) for values in zip(*((each.value, each.loss) for each in same), strict=True))
            best = BestLength(name=first.name, sigma_rel=first.sigma_rel, value=mean)
            found.append((sign * mean, loss, first.sigma_rel, best))
    return min(found, key=lambda each: each[:3])[-1] if found else None
