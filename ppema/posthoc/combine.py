"""Combines the snapshots of a run to an average of any length, or its last checkpoints to their mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppema.averaging.precision import widened
from ppema.averaging.profiles import Profile, Shape, solve
from ppema.checkpoint.checkpoint import Checkpoint
from ppema.checkpoint.tensors import Arrays
from ppema.config import RAW
from ppema.errors import CheckpointError
from ppema.posthoc.snapshots import Snapshot


@dataclass(frozen=True)
class Built:
    """Weights under the variables' own names, and their origin.

    arrays: every variable of the model; source: the folder they come from; what: their description; error: the distance of
    their profile from the wanted one, relative to it, None for a mean of checkpoints; parts: the number of snapshots or
    checkpoints; left: the names of the variables that have their last raw value instead of an average.
    """

    arrays: dict[str, np.ndarray]
    source: Path
    what: str
    error: float | None
    parts: int
    left: frozenset[str]


class PostHoc:
    """Averages of any length after one step of a run, built from its snapshots up to that step.

    snapshots: in order, at least one; step: the step, None for that of the last snapshot. The averages start and update as the
    tracked average with the most frequent updates. A variable is built from the averages that cover it; one without any has
    the raw value of the last snapshot.
    """

    def __init__(self, snapshots: Sequence[Snapshot], step: int | None = None):
        last = snapshots[-1]
        self.step = last.step if step is None else step
        self.horizon = last.horizon
        self._snapshots = snapshots
        self._terms = [(each, name) for each in snapshots for name in each.manifest.averages]
        self._profiles = [each.profiles()[name] for each, name in self._terms]
        self._groups = _groups(last)
        self._finest = min(self._profiles, key=lambda profile: (profile.every, profile.begin))

    def build(self, shape: Shape, what: str, replaced: Collection[str] = ()) -> Built:
        """The average with the profile `shape`. Raises CheckpointError for a damaged snapshot.

        what: the start of its description; replaced: the names of variables that are recalibrated later, whose profile error
        does not count.
        """
        last, parts = self._snapshots[-1], len(self._snapshots)
        # Averages count the steps that were not skipped. After the last snapshot no skipped step is known.
        updates = self.step - (last.step - last.updates)
        wanted = Profile(shape, self._finest.begin, updates, self._finest.every)
        arrays, error = last.rest(), 0.0
        for names, averages in self._groups:
            terms = [index for index, (_, name) in enumerate(self._terms) if name in averages]
            solution = solve([self._profiles[index] for index in terms], wanted)
            arrays |= self._sum(names, dict(zip(terms, solution.coefficients, strict=True)))
            if not set(names) <= set(replaced):
                error = max(error, solution.error)
        covered = {name for names, _ in self._groups for name in names}
        said = f"{what} at step {self.step} from {parts} snapshot{'s' * (parts > 1)}"
        return Built(arrays, last.path.parent, said, error, parts, frozenset(arrays.keys() - covered))

    def _sum(self, names: Sequence[str], coefficients: Mapping[int, float]) -> dict[str, np.ndarray]:
        """Σ x·s of the variables `names`. coefficients: x by the index of the term."""
        terms = ((self._terms[index], x) for index, x in coefficients.items())
        return weighted_sum(names, ((float(x), each.path, each.average(name)) for (each, name), x in terms))


def _groups(snapshot: Snapshot) -> list[tuple[list[str], frozenset[str]]]:
    """Groups of variables that the same averages cover: the variables' names, and the averages' names."""
    covering: dict[str, set[str]] = {}
    for average in snapshot.manifest.averages:
        for name in snapshot.average(average):
            covering.setdefault(name, set()).add(average)
    groups: dict[frozenset[str], list[str]] = {}
    for name in sorted(covering):
        groups.setdefault(frozenset(covering[name]), []).append(name)
    return [(names, averages) for averages, names in groups.items()]


def mean_of(checkpoints: Sequence[Checkpoint]) -> Built:
    """The uniform mean of the raw weights of `checkpoints`, which are in order. Integer variables have their last value.

    All files of the checkpoints are checked. Raises CheckpointError for a damaged checkpoint, or one of another model.
    """
    last, parts = checkpoints[-1], len(checkpoints)
    rest = _raw(last)
    floats = sorted(name for name, array in rest.items() if np.issubdtype(widened(array).dtype, np.floating))
    arrays = weighted_sum(floats, ((1 / parts, each.path, rest if each is last else _raw(each)) for each in checkpoints))
    steps = f"steps {checkpoints[0].manifest.state.step} to {last.manifest.state.step}"
    return Built(
        {**rest, **arrays},
        last.path.parent,
        f"the mean of {parts} checkpoints, {steps}",
        None,
        parts,
        frozenset(rest.keys() - arrays.keys()),
    )


def _raw(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    return checkpoint.checked(lambda part: part == RAW).arrays(RAW)


def weighted_sum(names: Sequence[str], terms: Iterable[tuple[float, Path, Arrays]]) -> dict[str, np.ndarray]:
    """Σ x·a of the variables `names` over the terms (x, folder of a, a), in float64.

    The result has the dtype of a, or float32 for half types. Raises CheckpointError if a term lacks a variable, or has another
    shape than the first.
    """
    sums: dict[str, np.ndarray] = {}
    types: dict[str, Any] = {}
    for x, source, arrays in terms:
        for name in names:
            if name not in arrays:
                raise CheckpointError(f"{source}: damaged: it lacks variable {name!r}")
            array = widened(arrays[name])
            if name not in sums:
                sums[name], types[name] = np.zeros(array.shape), array.dtype
            if sums[name].shape != array.shape:
                shapes = f"{list(array.shape)}, elsewhere {list(sums[name].shape)}"
                raise CheckpointError(f"{source}: damaged: {name} has the shape {shapes}")
            sums[name] += x * array.astype(np.float64)
    return {name: np.asarray(total, types[name]) for name, total in sums.items()}
