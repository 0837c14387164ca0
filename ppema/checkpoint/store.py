"""The checkpoints of one run: their folder, its pointers to the last and the best, pruning, and the newest intact one.

<output>/checkpoints/step-00000450              a checkpoint (`checkpoint.py`)
                     last                       a pointer to the newest: its name, and the checksum of its manifest
                     best                       a pointer to the best by the first monitored metric
                     best-<weights>-<metric>    a pointer to the best by each further one
                     step-00000500.aside        a checkpoint set aside by a run that went on from an earlier one
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ppema.checkpoint.best import Best
from ppema.checkpoint.checkpoint import Checkpoint, Reader
from ppema.checkpoint.durable import replace_file
from ppema.checkpoint.folder import (
    MANIFEST,
    clear_partials,
    contents,
    read_manifest,
    remove,
    set_aside,
    step_folder,
    step_folders,
    step_of,
    write_folder,
)
from ppema.checkpoint.manifest import Manifest
from ppema.checkpoint.tensors import Image, read_bytes
from ppema.errors import CheckpointError, ConfigError, TrainingError

LAST = "last"
BEST = "best"
_POINTER = re.compile(r"(step-[0-9]+) ([0-9a-f]{32})\n")
_LONGEST_POINTER = 1000  # bytes; a folder's name has at most 255


def is_pointer(name: str) -> bool:
    """Whether the value `name` of an argument `checkpoint` is a pointer; otherwise it is a path."""
    return name in (LAST, BEST) or name.startswith(f"{BEST}-")


def pointer_of(monitor: str, monitors: Sequence[str]) -> str:
    """The name of the pointer to the best checkpoint by `monitor`, which is one of the run's `monitors`."""
    if monitor == monitors[0]:
        return BEST
    return f"{BEST}-{re.sub(r'[^A-Za-z0-9_.-]', '_', monitor.replace('/', '-'))}"


def check_pointers(monitors: Sequence[str]) -> None:
    """Raise ConfigError if two of `monitors` would share the file of their pointers."""
    named: dict[str, str] = {}
    for monitor in monitors:
        other = named.setdefault(pointer_of(monitor, monitors), monitor)
        if other != monitor:
            raise ConfigError.of(
                f"{other!r} and {monitor!r} would both have their best in one file: rename an average", "monitor"
            )


class Checkpoints:
    """The checkpoints of one run, in one folder.

    keep: number of newest checkpoints to keep. keep_every: length of an interval in steps, or None; the first checkpoint of
    every interval except interval 0 is kept too, and so are the targets of `last` and the best pointers. Pruning deletes only
    the other checkpoints.
    """

    def __init__(self, folder: Path, keep: int = 3, keep_every: int | None = None):
        self.folder = folder
        self._keep = keep
        self._keep_every = keep_every

    def save(self, images: Mapping[str, Image], manifest: Manifest, best: Collection[str] = ()) -> Path:
        """Write the parts `images` and the manifest as the checkpoint of its step, point `last` to it, and prune.

        best: further pointers to it. A checkpoint of the same step is replaced, and its pointers name the new one. The folder
        appears under its name only when it is complete. Raises TrainingError if it can not be written; the earlier checkpoints
        are then unchanged.
        """
        target = step_folder(self.folder, manifest.state.step)
        pointers = self.pointers() if os.path.lexists(target) else {}
        named = [pointer for pointer, name in pointers.items() if name == target.name and pointer != LAST]
        checksum = write_folder(target, images, manifest, "checkpoint")
        try:
            for pointer in (*dict.fromkeys((*named, *best)), LAST):
                self._point(pointer, target, checksum)
        except OSError as error:
            raise TrainingError(f"{target}: the checkpoint could not be named: {error}") from error
        self.prune()
        return target

    def find(self, which: str, read: Reader = Checkpoint.intact) -> Checkpoint:
        """The checkpoint that `which` names: a pointer of this run, or a path (`checkpoint_of`).

        read: the reader; the default checks every file. Raises CheckpointError.
        """
        return self._named(which, read) if is_pointer(which) else checkpoint_of(Path(which), read)

    def newest_intact(self, read: Reader = Checkpoint.intact) -> tuple[Checkpoint | None, list[str]]:
        """The newest intact checkpoint, and the fault of each newer one in a line. None if there is no checkpoint at all.

        read: the reader, which checks every file. Raises CheckpointError if no checkpoint is intact.
        """
        folders = step_folders(self.folder)
        skipped = []
        with suppress(CheckpointError):
            newest = self._target(LAST)[0]
            if newest not in (folder.name for folder in folders):
                skipped.append(f"{self.folder / newest}: it is missing, and {LAST} names it")
        for folder in reversed(folders):
            try:
                return read(folder), skipped
            except CheckpointError as error:
                skipped.append(str(error))
        if skipped:
            found = "; ".join(skipped)
            raise CheckpointError(f"{self.folder}: none of its checkpoints is intact: {found}; choose another output")
        return None, []

    def newest(self, count: int) -> list[Checkpoint]:
        """The last `count` saved checkpoints, in order, without checks of their files.

        Older ones that the run kept for another reason do not count. Raises CheckpointError if there are fewer.
        """
        steps = step_folders(self.folder)
        # The run's own `keep`; the config may have changed since.
        last = Checkpoint.open(steps[-1]) if steps else None
        train = last.manifest.config.get("train") if last else None
        keep = train.get("keep") if isinstance(train, dict) else None
        keep = keep if isinstance(keep, int) and keep >= 1 else self._keep
        there = steps[-keep:]
        if len(there) < count:
            raise CheckpointError(
                f"{self.folder}: it has {len(there)} of the last {count} checkpoints: the run kept train.keep, {keep}"
            )
        return [last if last and path == last.path else Checkpoint.open(path) for path in there[-count:]]

    def exists(self) -> bool:
        """Whether this run has checkpoints, intact or not."""
        return bool(step_folders(self.folder))

    def go_on_from(self, found: Checkpoint, best: Mapping[str, Best]) -> list[Path]:
        """Prepare the folder for a run that goes on from `found`, also if a kill interrupted a save.

        `last` points to `found`, and each pointer in `best` to the checkpoint of its step. Later checkpoints are set aside,
        because the run repeats their steps; their new paths are returned. Partial files of killed processes are removed. Raises
        CheckpointError if the folder can not be written.
        """
        self.clear()
        steps = {LAST: found.step, **{pointer: each.step for pointer, each in best.items()}}
        aside = []
        try:
            for folder in step_folders(self.folder):
                if step_of(folder) > found.step:
                    aside.append(set_aside(folder))
            for pointer in self._pointers_there():
                if pointer not in steps and self._names_one(pointer):
                    (self.folder / pointer).unlink()
            for pointer, step in steps.items():
                self._point_again(pointer, step_folder(self.folder, step), found)
        except OSError as error:
            raise CheckpointError(f"{self.folder}: the run can not go on in it: {error}") from error
        return aside

    def clear(self) -> None:
        """Remove partial files of killed processes. Raises CheckpointError if the folder can not be written."""
        try:
            clear_partials(self.folder, [LAST, *self._pointers_there()])
        except OSError as error:
            raise CheckpointError(f"{self.folder}: the run can not go on in it: {error}") from error

    def superfluous(self) -> list[Path]:
        """The checkpoints that pruning deletes, in order. Raises CheckpointError for a damaged pointer: its target is kept."""
        steps = step_folders(self.folder)
        kept = {*steps[-self._keep :], *self._milestones(steps)}
        kept |= {self.folder / self._target(pointer)[0] for pointer in self._pointers_there()}
        return [path for path in steps if path not in kept]

    def prune(self) -> None:
        """Delete the superfluous checkpoints. While a pointer is damaged, none is deleted."""
        with suppress(CheckpointError):
            for path in self.superfluous():
                with suppress(OSError):
                    remove(path)

    def pointers(self) -> dict[str, str]:
        """The target of each pointer: the name of a folder, or "damaged"."""
        found = {}
        for pointer in self._pointers_there():
            try:
                found[pointer] = self._target(pointer)[0]
            except CheckpointError:
                found[pointer] = "damaged"
        return found

    def _pointers_there(self) -> list[str]:
        names = [each.name for each in contents(self.folder)]
        return [name for name in names if is_pointer(name) and not os.path.isdir(self.folder / name)]

    def _milestones(self, steps: Sequence[Path]) -> list[Path]:
        """The first checkpoint of every `keep_every` interval, except interval 0."""
        if self._keep_every is None:
            return []
        first: dict[int, Path] = {}
        for path in steps:
            first.setdefault(step_of(path) // self._keep_every, path)
        return [path for interval, path in first.items() if interval > 0]

    def _named(self, pointer: str, read: Reader) -> Checkpoint:
        """The checkpoint that `pointer` names. It is read again if a run in progress moved the pointer meanwhile."""
        while True:
            named = target, checksum = self._target(pointer)
            try:
                found = read(self.folder / target)
                if found.manifest.checksum == checksum:
                    return found
                raise CheckpointError(f"{self.folder / pointer}: damaged: {target} is not the checkpoint that it named")
            except CheckpointError:
                if self._target(pointer) == named:
                    raise

    def _target(self, pointer: str) -> tuple[str, str]:
        """The folder's name in the file `pointer`, and the checksum of its manifest. Raises CheckpointError."""
        file = self.folder / pointer
        if not os.path.lexists(file):
            hint = "train first" if pointer == LAST else "set train.monitor, then train"
            if not self.folder.is_absolute() and not os.path.isdir(self.folder):
                hint += f", or go to where that was done: output {str(self.folder.parent)!r} is below the working directory"
            raise CheckpointError(f"{file.absolute()}: there is no {pointer} checkpoint: {hint}")
        found = _POINTER.fullmatch(read_bytes(file, most=_LONGEST_POINTER).decode("ascii", "replace"))
        if found is None:
            raise CheckpointError(f"{file}: damaged: it names no checkpoint")
        return found[1], found[2]

    def _names_one(self, pointer: str) -> bool:
        """Whether the file `pointer` is a pointer of a run; a user's best-notes.txt is none."""
        try:
            self._target(pointer)
        except CheckpointError:
            return False
        return True

    def _point_again(self, pointer: str, target: Path, found: Checkpoint) -> None:
        """Let `pointer` name `target`, unless `target` is missing or damaged. Reading the pointer reports such a target.

        found: a checkpoint whose manifest was read already.
        """
        with suppress(CheckpointError):
            known = found.manifest if target.name == found.path.name else read_manifest(Manifest, target, "checkpoint")
            self._point(pointer, target, known.checksum)

    def _point(self, pointer: str, target: Path, checksum: str) -> None:
        replace_file(self.folder / pointer, f"{target.name} {checksum}\n".encode())


def checkpoint_of(path: Path, read: Reader = Checkpoint.intact) -> Checkpoint:
    """The checkpoint at `path` (`checkpoint_at`). Raises CheckpointError if there is none."""
    found = checkpoint_at(path, read)
    if found is None and not os.path.isdir(path):
        raise CheckpointError(f"{path}: there is no checkpoint: name the path of one, of a run, or of its last or best")
    return found or read(path)


def checkpoint_at(path: Path, read: Reader = Checkpoint.intact) -> Checkpoint | None:
    """The checkpoint at `path`; None if there is none.

    path: the folder of a checkpoint; a pointer's file (`last`, `best`); or the output folder or checkpoints folder of a run,
    for its last checkpoint. read: the reader; the default checks every file. Raises CheckpointError.
    """
    try:
        if is_pointer(path.name) and path.is_file():
            return Checkpoints(path.parent).find(path.name, read)
        if (path / MANIFEST).exists():
            return read(path)
        for folder in (path, path / "checkpoints"):
            if (folder / LAST).exists():
                return Checkpoints(folder).find(LAST, read)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    return None
