"""The best length of a post-hoc average of one run, and of all runs of a trial, from the tables of `ppema.average`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ppema.checkpoint.best import Mode
from ppema.experiments.sweeps.sweep_folder import BestLength

# The name of the files in <run>/averages, which `ppema.average` gives to a grid of widths.
SEARCHED = "grid-sigma_rel"
_FAR = 1.0  # the profile error from which a length cannot win, as in `ppema.posthoc.candidates`


class _Candidate(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    length: float
    metrics: dict[str, float | None]
    error: float | None


class _Lengths(BaseModel):
    """The table of a search, <run>/averages/grid-sigma_rel.json."""

    model_config = ConfigDict(frozen=True)

    metric: str
    rows: tuple[_Candidate, ...]


def best_length(outputs: Sequence[Path], monitor: str, mode: Mode) -> BestLength | None:
    """The length with the best mean of the sweep's metric over the runs in `outputs`; of equal ones, that with the least loss.

    monitor: "<weights>/<metric>" of the sweep. A length that is NaN or far off in one of the runs cannot win. None if no length
    can, or if one of the runs was not searched.
    """
    metric = monitor.partition("/")[2]
    tables = [_table(output, metric) for output in outputs]
    if not tables or not all(tables):
        return None
    sign = 1 if mode == "min" else -1
    found = []
    for width, first in tables[0].items():
        rows = [table[width] for table in tables if width in table]
        if len(rows) == len(tables):
            mean = statistics.fmean(row.metrics[metric] or 0.0 for row in rows)
            loss = statistics.fmean(row.metrics.get("loss") or 0.0 for row in rows)
            found.append((sign * mean, loss, width, BestLength(name=first.name, sigma_rel=width, value=mean)))
    return min(found, key=lambda each: each[:3])[-1] if found else None


def _table(output: Path, metric: str) -> dict[float, _Candidate]:
    """The lengths of the run in `output` that can win, by σ_rel; {} if they were not searched by this metric."""
    try:
        table = _Lengths.model_validate_json((output / "averages" / f"{SEARCHED}.json").read_bytes())
    except (OSError, ValidationError):
        return {}
    found = {}
    for row in table.rows:
        if row.metrics.get(metric) is not None and row.error is not None and row.error <= _FAR:  # null: NaN
            found[row.length] = row
    return found
