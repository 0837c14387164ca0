"""Names the runs that a board shows: folders of runs, and the trials of sweeps."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ppema.experiments.sweeps.sweep_folder import is_sweep, runs_of


def look_at(paths: Sequence[str | os.PathLike[str]]) -> Callable[[], dict[str, Path]]:
    """A function that returns the runs in `paths` at the moment, by name. Raises PpemaError if one is no run and no sweep.

    The name of a run is that of its folder, after the folders above it as far as `paths` differ. Trials are named
    <sweep>/<trial>.
    """
    found = {Path(path).resolve(): Path(path) for path in paths}
    for path in found.values():
        runs_of(path)
    above = os.path.commonpath([path.parent for path in found])
    names = {path: os.path.relpath(path, above) for path in found}

    def look() -> dict[str, Path]:
        runs = {}
        for path, name in names.items():
            for each in runs_of(path):
                runs[_word(f"{name}/{each.name}" if is_sweep(path) else name)] = each
        return runs

    return look


def _word(name: str) -> str:
    """`name` as an argument that is no flag."""
    return f"_{name}" if name.startswith("-") else name
