"""The inspection of checkpoints: their list, their faults, and the differences of two of them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppema.averaging.precision import widened
from ppema.checkpoint.checkpoint import Checkpoint
from ppema.checkpoint.folder import contents, problems, step_folders
from ppema.checkpoint.store import Checkpoints
from ppema.errors import CheckpointError


@dataclass(frozen=True)
class CheckpointEntry:
    """A checkpoint in a list. size: of its files in bytes; named: the pointers to it; fault: of its manifest, or None.

    step, epoch: None if the manifest is faulty.
    """

    path: Path
    step: int | None
    epoch: float | None
    size: int
    named: tuple[str, ...]
    fault: str | None


@dataclass(frozen=True)
class Difference:
    """A variable in two checkpoints A and B. norm_a, norm_b: Euclidean norms in float64; None if a checkpoint lacks it.

    distance: ‖A - B‖, or None; equal: bit for bit.
    """

    part: str
    name: str
    norm_a: float | None
    norm_b: float | None
    distance: float | None
    equal: bool

    @property
    def relative(self) -> float:
        """‖A - B‖ / ‖A‖; infinite if one checkpoint lacks the variable, or if A is zero and B is not."""
        if self.distance is None or self.norm_a is None or (self.distance and not self.norm_a):
            return float("inf")
        return self.distance / self.norm_a if self.distance else 0.0


def folder_of_run(path: Path) -> Path:
    """The folder of checkpoints: `path` itself, or `path`/checkpoints of a run. Raises CheckpointError without one."""
    for folder in (path / "checkpoints", path):
        # Path.is_dir raises OSError for a name that is too long; os.path.isdir does not.
        if os.path.isdir(folder) and (step_folders(folder) or folder.name == "checkpoints"):
            return folder
    raise CheckpointError(f"{path}: there are no checkpoints: name a run's output folder, or the checkpoints folder in it")


def entries(folder: Path) -> list[CheckpointEntry]:
    """The checkpoints in `folder`, in order, then those that were set aside. Raises CheckpointError if it is unreadable."""
    pointers = Checkpoints(folder).pointers()
    found = []
    aside = [folder / each.name for each in contents(folder) if re.fullmatch(r"step-[0-9]+\.aside.*", each.name)]
    aside = [path for path in aside if os.path.isdir(path)]
    for path in [*step_folders(folder), *aside]:
        named = tuple(pointer for pointer, target in pointers.items() if target == path.name)
        try:
            state = Checkpoint.open(path).manifest.state
        except CheckpointError as error:
            # A run in progress may have just deleted it.
            if os.path.lexists(path):
                found.append(CheckpointEntry(path, None, None, _size(path), named, str(error)))
        else:
            found.append(CheckpointEntry(path, state.step, state.epoch, _size(path), named, None))
    return found


def _size(folder: Path) -> int:
    """The size of the files in `folder` in bytes; 0 if it can not be read."""
    try:
        return sum(each.stat(follow_symlinks=False).st_size for each in contents(folder))
    except (OSError, CheckpointError):
        return 0


def check(path: Path) -> list[str]:
    """The faults of the checkpoint in `path`, one line each. The function reads every file."""
    try:
        found = Checkpoint.open(path)
    except CheckpointError as error:
        return [str(error)]
    return problems(path, found.manifest)


def check_pointers(folder: Path, damaged: Collection[str]) -> list[str]:
    """The faults of the pointers in `folder`, such as `last`, one line each.

    damaged: the names of checkpoints with faults, such as "step-00000006". One line names all pointers to such a checkpoint.
    """
    found = []
    pointers = Checkpoints(folder).pointers()
    for target in damaged:
        if named := ", ".join(pointer for pointer, name in pointers.items() if name == target):
            found.append(f"{folder / target}: damaged, and named by {named}")
    for pointer, target in pointers.items():
        if target in damaged:
            continue
        try:
            Checkpoints(folder).find(pointer)
        except CheckpointError as error:
            found.append(str(error))
    return found


def differences(a: Checkpoint, b: Checkpoint) -> Iterator[Difference]:
    """The difference of every variable of `a` or `b`, part by part.

    Raises CheckpointError for a damaged file, and for a variable whose shapes differ.
    """
    for file in sorted({*a.manifest.files, *b.manifest.files}):
        part = Path(file).stem
        ours, theirs = (each.arrays(part) if file in each.manifest.files else {} for each in (a, b))
        for name in sorted({*ours, *theirs}):
            yield _difference(part, name, ours.get(name), theirs.get(name))


def _difference(part: str, name: str, a: np.ndarray | None, b: np.ndarray | None) -> Difference:
    if a is None or b is None:
        return Difference(part, name, None if a is None else _norm(a), None if b is None else _norm(b), None, False)
    if a.shape != b.shape:
        shapes = f"{list(a.shape)} in one checkpoint and {list(b.shape)} in the other"
        raise CheckpointError(f"{part}: {name} has the shape {shapes}")
    distance = float(np.linalg.norm(_wide(a) - _wide(b)))
    return Difference(part, name, _norm(a), _norm(b), distance, (a.dtype, a.tobytes()) == (b.dtype, b.tobytes()))


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(_wide(array)))


def _wide(array: np.ndarray) -> np.ndarray:
    return widened(array).astype(np.float64)
