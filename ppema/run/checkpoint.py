"""Checkpoints: a folder per step that holds names and arrays (safetensors) and a manifest (JSON); nothing is pickled.

<output>/checkpoints/step-00000450/raw.safetensors            parameters and BatchNorm statistics, by their names
                                   optimizer.safetensors      accumulators, by their names
                                   average-<name>.safetensors shadows, count and weight, by their names
                                   manifest.json              everything else
<output>/checkpoints/last, best    small files that name such a folder
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ppema.errors import CheckpointError

FORMAT = 1
MANIFEST = "manifest.json"
_PREFIX = "step-"

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk: its folder and its manifest, whose arrays are read when asked for."""

    path: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Read the manifest in the folder `path`. Raises CheckpointError where it is missing, damaged or too new."""
        file = path / MANIFEST
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"{file}: {error.strerror}: this is no checkpoint of ppema") from error
        except ValueError as error:
            raise CheckpointError(f"{file}: damaged: {error}") from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            found = manifest.get("format") if isinstance(manifest, dict) else None
            raise CheckpointError(f"{file}: format {found!r} is not the format {FORMAT} that this version reads")
        return cls(path, manifest)

    def arrays(self, part: str) -> dict[str, np.ndarray]:
        """The arrays of "raw", "optimizer" or "average-<name>". Raises CheckpointError."""
        file = self.path / f"{part}.safetensors"
        try:
            return load_file(file)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{file}: {error}") from error

    def weights(self, name: str) -> dict[str, np.ndarray]:
        """The weights `name` ("raw" or an average's) under the variables' own names, for a program without averages.

        What the average does not cover comes from the raw weights. Raises CheckpointError for an unknown name.
        """
        raw = self.arrays("raw")
        if name == "raw":
            return raw
        averages = self.manifest["averages"]
        if name not in averages:
            raise CheckpointError(f"{self.path}: there are no weights {name!r}; there are {', '.join(['raw', *averages])}")
        shadows = self.arrays(f"average-{name}")
        shadow_of = averages[name]["shadow_of"]
        return {**raw, **{variable: shadows[shadow] for variable, shadow in shadow_of.items()}}


class Checkpoints:
    """The checkpoints of one run, in one folder."""

    def __init__(self, folder: Path, keep: int = 3):
        self.folder = folder
        self._keep = keep

    def save(self, step: int, parts: Mapping[str, Arrays], manifest: Mapping[str, Any], *, best: bool) -> Path:
        """Write the arrays of `parts` and the manifest as the checkpoint of `step`, and name it last (and best).

        The folder appears under its name only when it is whole. Older ones go, but for the last `keep` and the best.
        Raises CheckpointError when it can not be written; the earlier ones are then as they were.
        """
        target = self.folder / f"{_PREFIX}{step:08d}"
        partial = self.folder / f".{target.name}.{os.getpid()}"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for part, arrays in parts.items():
                save_file(dict(arrays), partial / f"{part}.safetensors")
            (partial / MANIFEST).write_text(json.dumps({"format": FORMAT, **manifest}, indent=1), encoding="utf-8")
            if target.exists():
                shutil.rmtree(target)
            partial.rename(target)
            self._point("last", target)
            if best:
                self._point("best", target)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise CheckpointError(f"{target}: the checkpoint could not be written: {error}") from error
        self._prune()
        return target

    def find(self, which: str) -> Checkpoint:
        """The checkpoint "last" or "best" of this run, or the one in the folder that `which` is the path of."""
        if which not in ("last", "best"):
            return Checkpoint.open(Path(which))
        pointer = self.folder / which
        try:
            name = pointer.read_text(encoding="utf-8").strip()
        except OSError as error:
            hint = "train first" if which == "last" else "set train.monitor, then train"
            raise CheckpointError(f"{pointer}: there is no {which} checkpoint: {hint}") from error
        return Checkpoint.open(self.folder / name)

    def exists(self) -> bool:
        """Whether this run has a checkpoint to resume from."""
        return (self.folder / "last").exists()

    def _point(self, name: str, target: Path) -> None:
        partial = self.folder / f".{name}.{os.getpid()}"
        partial.write_text(target.name + "\n", encoding="utf-8")
        partial.replace(self.folder / name)

    def _prune(self) -> None:
        steps = sorted(path for path in self.folder.glob(f"{_PREFIX}*") if path.is_dir())
        kept = set(steps[-self._keep :])
        best = self.folder / "best"
        if best.exists():
            kept.add(self.folder / best.read_text(encoding="utf-8").strip())
        for path in steps:
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)


def check_fits(checkpoint: Checkpoint, found: Arrays, wanted: Sequence[str]) -> None:
    """Raise CheckpointError unless the arrays `found` in a checkpoint are those of the variables `wanted`."""
    for names, what in ((set(wanted) - set(found), "lacks"), (set(found) - set(wanted), "has the unknown")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{checkpoint.path}: it {what} variable {min(names)!r}{more}: it is another model's")
