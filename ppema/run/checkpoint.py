"""Checkpoints: a folder per step that holds names and arrays (safetensors) and a manifest (JSON); nothing is pickled.

<output>/checkpoints/step-00000450/raw.safetensors            parameters and BatchNorm statistics, by their names
                                   optimizer.safetensors      accumulators, by their names
                                   average-<name>.safetensors shadows, their rests, count and weight, by their names
                                   manifest.json              everything else
<output>/checkpoints/last, best    small files that name such a folder

What is bfloat16 stands there as `folder.save_arrays` says.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppema.averaging.precision import fitted, type_of
from ppema.config import RAW
from ppema.errors import CheckpointError, TrainingError
from ppema.run.folder import MANIFEST, Arrays, read_arrays, step_folder, step_folders, write_folder
from ppema.run.manifest import Manifest, parse


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk: its folder and its manifest, whose arrays are read when asked for."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Read the manifest in the folder `path`. Raises CheckpointError where it is missing, damaged or too new."""
        file = path / MANIFEST
        try:
            return cls(path, parse(Manifest, file.read_text(encoding="utf-8")))
        except OSError as error:
            raise CheckpointError(f"{file}: {error.strerror}: this is no checkpoint of ppema") from error
        except ValueError as error:
            raise CheckpointError(f"{file}: damaged, or of another format: {error}") from error

    def arrays(self, part: str) -> dict[str, np.ndarray]:
        """The arrays of "raw", "optimizer" or "average-<name>". Raises CheckpointError."""
        return read_arrays(self.path / f"{part}.safetensors")

    def weights(self, name: str) -> dict[str, np.ndarray]:
        """The weights `name` ("raw" or an average's) under the variables' own names, for a program without averages.

        They are of the raw weights' types. What the average does not cover comes from the raw weights. Raises CheckpointError
        for an unknown name.
        """
        raw = self.arrays(RAW)
        if name == RAW:
            return raw
        shadow_of = self.shadow_of(name)
        shadows = self.arrays(f"average-{name}")
        missing = sorted(set(shadow_of.values()) - set(shadows))
        if missing:
            raise CheckpointError(f"{self.path / f'average-{name}.safetensors'}: it lacks variable {missing[0]!r}")
        weights = {name: shadows[shadow] for name, shadow in shadow_of.items()}
        return {**raw, **{name: fitted(array, type_of(raw.get(name, array))) for name, array in weights.items()}}

    def shadow_of(self, average: str) -> dict[str, str]:
        """The names of its shadows by variable's name. Raises CheckpointError for an unknown average."""
        averages = self.manifest.averages
        if average not in averages:
            raise CheckpointError(f"{self.path}: there are no weights {average!r}; there are {', '.join([RAW, *averages])}")
        return averages[average].shadow_of


class Checkpoints:
    """The checkpoints of one run, in one folder."""

    def __init__(self, folder: Path, keep: int = 3):
        self.folder = folder
        self._keep = keep

    def save(self, step: int, parts: Mapping[str, Arrays], manifest: Manifest, *, best: bool) -> Path:
        """Write the arrays of `parts` and the manifest as the checkpoint of `step`, and name it last (and best).

        The folder appears under its name only when it is whole. Older ones go, but for the last `keep` and the best.
        Raises TrainingError when it can not be written; the earlier ones are then as they were.
        """
        target = step_folder(self.folder, step)
        write_folder(target, parts, manifest.model_dump_json(indent=1), "checkpoint")
        try:
            self._point("last", target)
            if best:
                self._point("best", target)
        except OSError as error:
            raise TrainingError(f"{target}: the checkpoint could not be named: {error}") from error
        self._prune()
        return target

    def find(self, which: str) -> Checkpoint:
        """The checkpoint "last" or "best" of this run, or the one in the folder that `which` is the path of."""
        if which not in ("last", "best"):
            try:
                found = Path(which).is_dir()
            except OSError as error:
                raise CheckpointError(f"{which}: {error.strerror}") from error
            if not found:
                raise CheckpointError(f"{which}: there is no such folder; a checkpoint is 'last', 'best' or the path of one")
            return Checkpoint.open(Path(which))
        target = self._target(which)
        if target is None:
            hint = "train first" if which == "last" else "set train.monitor, then train"
            raise CheckpointError(f"{self.folder / which}: there is no {which} checkpoint: {hint}")
        return Checkpoint.open(target)

    def newest(self, count: int) -> list[Checkpoint]:
        """The last `count` that were saved, in order; not the best where it is kept beside newer ones.

        Raises CheckpointError where fewer are there.
        """
        steps = step_folders(self.folder)
        # As the run kept them, which the config of today may not say.
        train = Checkpoint.open(steps[-1]).manifest.config.get("train") if steps else None
        keep = train.get("keep") if isinstance(train, dict) else None
        keep = keep if isinstance(keep, int) and keep >= 1 else self._keep
        there = steps[-keep:]
        if len(there) < count:
            raise CheckpointError(
                f"{self.folder}: the last {count} checkpoints were asked for, and {len(there)} are there: train.keep, which "
                f"was {keep}, says how many a run keeps"
            )
        return [Checkpoint.open(path) for path in there[-count:]]

    def exists(self) -> bool:
        """Whether this run has a checkpoint to resume from."""
        return (self.folder / "last").exists()

    def _target(self, name: str) -> Path | None:
        """The folder that the file `name` names; None where there is no such file. Raises CheckpointError for other text."""
        pointer = self.folder / name
        try:
            target = pointer.read_bytes().decode("ascii", "replace").strip()
        except OSError:
            return None
        if not re.fullmatch(r"step-\d+", target):
            raise CheckpointError(f"{pointer}: damaged: it names no checkpoint")
        return self.folder / target

    def _point(self, name: str, target: Path) -> None:
        partial = self.folder / f".{name}.{os.getpid()}"
        partial.write_text(target.name + "\n", encoding="utf-8")
        partial.replace(self.folder / name)

    def _prune(self) -> None:
        steps = step_folders(self.folder)
        kept = {*steps[-self._keep :], self._target("last"), self._target("best")}
        for path in steps:
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)


def check_fits(source: Path, found: Arrays, wanted: Sequence[str]) -> None:
    """Raise CheckpointError unless the arrays `found` in `source` are those of the variables `wanted`."""
    for names, what in ((set(wanted) - set(found), "lacks"), (set(found) - set(wanted), "has the unknown")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{source}: it {what} variable {min(names)!r}{more}: it is another model's")
