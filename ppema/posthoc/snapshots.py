"""Takes and reads snapshots of the averages that have a sigma_rel. Averages of other lengths are built from them later.

<output>/snapshots/step-00000450/average-<name>.safetensors  the average, by the variables' own names
                                 rest.safetensors            raw values of the variables that not all of the averages cover
                                 manifest.json               the rule of each average, and the length of the run
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveInt

from ppema.averaging.power import gamma_of
from ppema.averaging.profiles import PowerShape, Profile
from ppema.checkpoint.folder import (
    MANIFEST,
    clear_partials,
    problems,
    read_manifest,
    read_part,
    remove,
    set_aside,
    step_folder,
    step_folders,
    step_of,
    write_folder,
)
from ppema.checkpoint.manifest import FolderManifest
from ppema.checkpoint.paths import output_of
from ppema.checkpoint.state import State
from ppema.checkpoint.tensors import Image
from ppema.config import Config
from ppema.config.horizon import Horizon
from ppema.distributed.sharded import ShardedAverages
from ppema.errors import CheckpointError
from ppema.ir import scope
from ppema.programs.build import Programs

_REST = "rest"


class Tracked(BaseModel):
    """One power-function average in a snapshot.

    sigma_rel: as configured; gamma: its γ; begin, every: as in `ppema.averaging.profiles.Profile`.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    sigma_rel: float
    gamma: NonNegativeFloat
    begin: NonNegativeInt
    every: PositiveInt

    def profile(self, updates: int) -> Profile:
        """Its profile after `updates` steps that changed the weights. Raises ValueError before its first update."""
        return Profile(PowerShape(self.gamma), self.begin, updates, self.every)


class SnapshotManifest(FolderManifest):
    """The content of a snapshot's manifest.json.

    updates: the number of steps up to `step` that were not skipped, which averages count; averages: by name; horizon: the
    length of the run, for durations.
    """

    step: PositiveInt
    updates: PositiveInt
    averages: dict[str, Tracked]
    horizon: Horizon


@dataclass(frozen=True)
class Snapshot:
    """One snapshot on disk. Its arrays are read on request."""

    path: Path
    manifest: SnapshotManifest

    @classmethod
    def open(cls, path: Path) -> Snapshot:
        """Read the manifest in the folder `path`. Raises CheckpointError if it is missing or damaged."""
        manifest, file = read_manifest(SnapshotManifest, path, "snapshot"), path / MANIFEST
        try:
            snapshot = cls(path, manifest)
            profiles = snapshot.profiles()
        except ValueError as error:
            raise CheckpointError(f"{file}: damaged, or of another format: {error}") from error
        if not profiles or manifest.step != step_of(path) or snapshot.updates > manifest.step:
            raise CheckpointError(f"{file}: damaged: it is not that of a snapshot of step {step_of(path)}")
        return snapshot

    @property
    def step(self) -> int:
        return self.manifest.step

    @property
    def updates(self) -> int:
        """The number of steps up to `step` that changed the weights."""
        return self.manifest.updates

    def profiles(self) -> dict[str, Profile]:
        """The profile of each average by name, in updates. Raises ValueError for an average before its first update."""
        return {name: tracked.profile(self.updates) for name, tracked in self.manifest.averages.items()}

    @property
    def horizon(self) -> Horizon:
        """The planned length of the run when the snapshot was taken."""
        return self.manifest.horizon

    def average(self, name: str) -> dict[str, np.ndarray]:
        """The float32 values of the average `name`, by the variables' own names. Raises CheckpointError."""
        return read_part(self.path, self.manifest, f"average-{name}")

    def rest(self) -> dict[str, np.ndarray]:
        """The raw values of the variables that not every average covers, by their names. Raises CheckpointError."""
        return read_part(self.path, self.manifest, _REST)


class Snapshots:
    """The snapshots of one run, in one folder. They are never pruned."""

    def __init__(self, folder: Path):
        self.folder = folder

    def go_on_from(self, step: int, *, keep: bool) -> list[Path]:
        """Remove the snapshots after `step`, from which the run continues; it will take them again.

        keep: move them to snapshots.aside instead. Returns their new paths. Raises CheckpointError if the folder can not be
        written.
        """
        aside = []
        try:
            clear_partials(self.folder)
            for path in step_folders(self.folder):
                if step_of(path) > step and keep:
                    aside.append(set_aside(path, self.folder.with_name(f"{self.folder.name}.aside")))
                elif step_of(path) > step:
                    remove(path)
        except OSError as error:
            raise CheckpointError(f"{self.folder}: the run can not go on in it: {error}") from error
        return aside

    def damaged(self) -> list[str]:
        """A line for each fault of a snapshot. Reads all files. Raises CheckpointError if the folder can not be read."""
        found = []
        for path in step_folders(self.folder):
            try:
                found += problems(path, Snapshot.open(path).manifest)
            except CheckpointError as error:
                found.append(str(error))
        return found

    def take(
        self, config: Config, programs: Programs, where: Any, horizon: Horizon, state: State, shards: ShardedAverages
    ) -> Callable[[], object] | None:
        """Copy a snapshot out of the scope `where` of a run at `state`.

        shards: the averages that ranks share; all of these take the snapshot then, and the first one writes it. Returns a
        function that writes it, or None if no average with a sigma_rel has started. The function raises TrainingError if the
        write fails; earlier snapshots then stay unchanged. Raises PeerError.
        """
        tracked = _tracked(config, programs, state.updates)
        if not tracked:
            return None
        parts = {}
        for name in tracked:
            average = programs.averages[name]
            # A recalibrated statistic has a shadow, but it is no average.
            shadows = ((variable, each) for variable, each in average.shadow_of.items() if variable not in average.recalibrated)
            shared = {held: array.copy() for held, array in shards.whole(name)} if name in shards else {}
            parts[f"average-{name}"] = {
                variable: shared[shadow] if shadow in shared else scope.get(where, shadow) for variable, shadow in shadows
            }
        covered = set.intersection(*(set(arrays) for arrays in parts.values()))
        names = [parameter.name for parameter in programs.model.parameters]
        parts[_REST] = {name: scope.get(where, name) for name in names if name not in covered}
        manifest = SnapshotManifest(step=state.step, updates=state.updates, averages=tracked, horizon=horizon)
        images = {part: Image.of(arrays) for part, arrays in parts.items()}
        return partial(write_folder, step_folder(self.folder, state.step), images, manifest, "snapshot")

    def steps(self) -> list[int]:
        """The steps of all snapshots, in order."""
        return [step_of(path) for path in step_folders(self.folder)]

    def until(self, step: int | None) -> Sequence[Snapshot]:
        """The snapshots up to `step` (None: all), in order.

        Raises CheckpointError if there is none, if `step` is not between the first and the last one, and for a damaged one.
        """
        steps = self.steps()
        if not steps:
            raise CheckpointError(
                f"{self.folder}: there are no snapshots: set train.snapshot_every and give two averages a sigma_rel, then train"
            )
        if step is not None and not steps[0] <= step <= steps[-1]:
            raise CheckpointError(f"{self.folder}: there are snapshots of steps {steps[0]} to {steps[-1]}, not of step {step}")
        found = [Snapshot.open(step_folder(self.folder, each)) for each in steps if step is None or each <= step]
        for snapshot in found:
            for problem in problems(snapshot.path, snapshot.manifest):
                raise CheckpointError(problem)
        return found


def snapshots_of(config: Config) -> Snapshots:
    """The snapshots of the config's run."""
    return Snapshots(output_of(config) / "snapshots")


def _tracked(config: Config, programs: Programs, updates: int) -> dict[str, Tracked]:
    """The averages of `programs` that have a sigma_rel, and had their first update within `updates` steps."""
    rules = {name: average.rule for name, average in programs.averages.items()}
    return {
        name: Tracked(
            sigma_rel=spec.sigma_rel, gamma=gamma_of(spec.sigma_rel), begin=rules[name].begin, every=rules[name].update_every
        )
        for name, spec in config.averages.items()
        if spec.sigma_rel is not None and updates >= rules[name].first
    }
