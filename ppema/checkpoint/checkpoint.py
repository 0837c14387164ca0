"""One checkpoint: a folder that holds names and arrays (safetensors) and a manifest (JSON); nothing is pickled.

step-00000450/raw.safetensors            parameters and BatchNorm statistics, by their names
              optimizer.safetensors      accumulators, by their names
              average-<name>.safetensors shadows, their rests, count and weight, by their names
              begun.safetensors          only in the middle of a step of several micro-batches: its sums of gradients
              manifest.json              everything else, and the size and checksum of each of these files

docs/checkpoints.md describes the format for other programs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ppema.averaging.precision import fitted
from ppema.checkpoint.folder import MANIFEST, is_step, read_manifest, read_part, step_of
from ppema.checkpoint.manifest import Manifest
from ppema.checkpoint.tensors import Arrays, arrays_in, read_bytes
from ppema.config import PDPARAMS, RAW, SAFETENSORS
from ppema.errors import CheckpointError, Naming

BEGUN = "begun"  # the part of a checkpoint in the middle of a step


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk: its folder and its manifest. Arrays that are not held are read and checked at each use."""

    path: Path
    manifest: Manifest = field(repr=False)  # it has a line for every variable
    _held: Mapping[str, Arrays] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Read the manifest in the folder `path`. Raises CheckpointError if it is missing, damaged or of another format."""
        manifest = read_manifest(Manifest, path, "checkpoint")
        if is_step(path) and step_of(path) != manifest.state.step:
            raise CheckpointError(f"{path / MANIFEST}: damaged: it is the manifest of step {manifest.state.step}")
        needed = [f"{part}{SAFETENSORS}" for part in (RAW, *(f"average-{name}" for name in manifest.averages))]
        for name in needed:
            if name not in manifest.files:
                raise CheckpointError(f"{path / MANIFEST}: damaged: it knows no file {name}")
        return cls(path, manifest)

    @classmethod
    def intact(cls, path: Path) -> Checkpoint:
        """Read the manifest, and check every file. Raises CheckpointError."""
        return cls.open(path).checked()

    def checked(self, hold: Callable[[str], bool] = lambda part: False) -> Checkpoint:
        """Read and check every file, and return the checkpoint. Raises CheckpointError for the first damaged file.

        hold: whether to hold the arrays of a part; `arrays` and `weights` read the files of other parts again.
        """
        held = {}
        for name, record in self.manifest.files.items():
            content, part = read_bytes(self.path / name, record), Path(name).stem
            if hold(part):
                held[part] = arrays_in(content, self.path / name)
        return replace(self, _held=held)

    @property
    def step(self) -> int:
        return self.manifest.state.step

    def arrays(self, part: str) -> dict[str, np.ndarray]:
        """The arrays of "raw", "optimizer", "average-<name>" or "begun". Raises CheckpointError."""
        return dict(self._held[part]) if part in self._held else read_part(self.path, self.manifest, part)

    def weights(self, name: str) -> dict[str, np.ndarray]:
        """The weights `name` ("raw" or an average's) by variables' names, for a program without averages.

        Shapes and dtypes are those of the raw weights. Variables outside the average have their raw values. Raises
        CheckpointError for an unknown name, and for files that are missing or damaged.
        """
        raw = self.arrays(RAW)
        if name == RAW:
            return raw
        shadow_of = self.shadow_of(name)
        if not self.manifest.averages[name].steps:
            state = self.manifest.state
            why = f"all {state.step} steps were skipped" if state.step else "no step was done"
            raise CheckpointError(f"{self.path}: the average {name!r} has no value yet: {why}")
        shadows = self.arrays(f"average-{name}")
        missing = sorted(set(shadow_of.values()) - set(shadows))
        if missing:
            raise CheckpointError(f"{self.path / f'average-{name}.safetensors'}: it lacks variable {missing[0]!r}")
        weights = {name: shadows[shadow] for name, shadow in shadow_of.items()}
        return {**raw, **{name: fitted(array, raw.get(name, array).dtype.name) for name, array in weights.items()}}

    def shadow_of(self, average: str) -> dict[str, str]:
        """The names of the average's shadows by variable's name. Raises CheckpointError for an unknown average."""
        averages = self.manifest.averages
        if average not in averages:
            there = ", ".join([RAW, *averages])
            raise CheckpointError(
                Naming("{}: there are no weights {!r}; there are {}" + _of_files(average), self.path, average, there)
            )
        return averages[average].shadow_of


Reader = Callable[[Path], Checkpoint]  # raises CheckpointError


def with_state(path: Path) -> Checkpoint:
    """The checkpoint in `path` with every file checked, and all its arrays held. Raises CheckpointError."""
    return Checkpoint.open(path).checked(lambda part: True)


def with_weights(name: str | None = None) -> Reader:
    """A reader that checks every file, and holds the arrays that `Checkpoint.weights(name)` needs. None: those of all names."""
    parts = (RAW, f"average-{name}")
    return lambda path: Checkpoint.open(path).checked(lambda part: part != "optimizer" if name is None else part in parts)


def _of_files(weights: str) -> str:
    """The remedy if `weights`, the name of no average, look like the path of a file. A text for a `Naming`."""
    if "/" not in weights and not Path(weights).suffix:
        return ""
    return f"; {{weights}} takes files *{SAFETENSORS}, which export writes; init_from.path takes *{PDPARAMS} too"


def check_fits(source: Path, found: Arrays, wanted: Sequence[str]) -> None:
    """Raise CheckpointError unless the arrays `found` in `source` have exactly the names `wanted`."""
    for names, what in ((set(wanted) - set(found), "lacks"), (set(found) - set(wanted), "has the unknown")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{source}: it {what} variable {min(names)!r}{more}: it is another model's")
