"""A folder of arrays (safetensors) and a manifest (JSON), which gets its name only when it is complete and durable."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from ppema.checkpoint.durable import NewFile, sync_folder, write_file
from ppema.checkpoint.manifest import AnyManifest, FolderManifest, parse, sealed
from ppema.checkpoint.tensors import Image, Record, read_arrays, read_bytes
from ppema.config import SAFETENSORS
from ppema.errors import CheckpointError, TrainingError, printable

MANIFEST = "manifest.json"
_PREFIX = "step-"
_LARGEST_MANIFEST = 2**28  # bytes; a variable takes a few hundred


def step_folder(parent: Path, step: int) -> Path:
    """The path of the folder of `step`, such as step-00000450."""
    return parent / f"{_PREFIX}{step:08d}"


def step_folders(parent: Path) -> list[Path]:
    """The folders of all steps in `parent`, in the steps' order. A link with such a name counts, whatever its target.

    The list is empty if `parent` is missing. Raises CheckpointError if `parent` can not be read.
    """
    found = [each for each in contents(parent) if each.is_symlink() or each.is_dir(follow_symlinks=False)]
    return sorted((parent / each.name for each in found if is_step(Path(each.name))), key=step_of)


def contents(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of `folder`, sorted by name; empty if it is no folder. Raises CheckpointError if it can not be read."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda each: each.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"{folder}: it can not be read: {error.strerror}") from error


def is_step(path: Path) -> bool:
    """Whether the name of `path` is one that `step_folder` makes."""
    return re.fullmatch(rf"{_PREFIX}[0-9]+", path.name) is not None


def step_of(folder: Path) -> int:
    """The step in the name of `folder`."""
    return int(folder.name.removeprefix(_PREFIX))


def write_folder(target: Path, images: Mapping[str, Image], manifest: FolderManifest, what: str) -> str:
    """Write each part's image as <part>.safetensors, and `manifest` with their checksums, into a new folder `target`.

    An existing `target` is replaced. what: the kind of folder, for messages. Returns the manifest's checksum. The parent of
    `target` is created, but no folder above it, so that a removed run's folder does not reappear in part.

    Raises TrainingError if the folder can not be written. An existing `target` is deleted only after the new one is complete.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _remove(partial)
        with suppress(FileExistsError):
            os.mkdir(target.parent)
            sync_folder(target.parent.parent)
        os.mkdir(partial)
        content, checksum = sealed(manifest.model_copy(update={"files": _write_images(partial, images)}))
        write_file(partial / MANIFEST, content)
        sync_folder(partial)
        _remove(target)
        os.rename(partial, target)
        sync_folder(target.parent)
        return checksum
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise TrainingError(f"{target}: the {what} could not be written: {error}") from error
        raise


def read_manifest(kind: type[AnyManifest], folder: Path, what: str) -> AnyManifest:
    """The manifest in `folder`. what: the kind of folder, for messages.

    Raises CheckpointError if the manifest is missing, damaged, or of another format.
    """
    file = folder / MANIFEST
    try:
        content = read_bytes(file, most=_LARGEST_MANIFEST)
    except CheckpointError as error:
        if os.path.islink(folder) and not os.path.exists(folder):
            raise CheckpointError(
                f"{folder}: damaged: it is a link to {printable(os.readlink(folder))}, which is missing"
            ) from error
        if isinstance(error.__cause__, PermissionError):
            raise
        raise CheckpointError(f"{error}: this is no {what} of ppema") from error
    try:
        return parse(kind, content)
    except ValueError as error:
        raise CheckpointError(f"{file}: damaged, or of another format: {error}") from error


def read_part(folder: Path, manifest: FolderManifest, part: str) -> dict[str, np.ndarray]:
    """The arrays of a part of the folder, by name. Raises CheckpointError if they differ from those that were written."""
    name = f"{part}{SAFETENSORS}"
    if name not in manifest.files:
        raise CheckpointError(f"{folder / MANIFEST}: it knows no file {name}")
    return read_arrays(folder / name, manifest.files[name])


def problems(folder: Path, manifest: FolderManifest) -> list[str]:
    """The faults of the folder's files, one line each. The function reads every file."""
    found = []
    for name, record in manifest.files.items():
        try:
            read_bytes(folder / name, record)
        except CheckpointError as error:
            found.append(str(error))
    return found


def clear_partials(parent: Path, files: Iterable[str] = ()) -> None:
    """Remove the partial folders of steps, and the partial `files`, that killed processes left in `parent`.

    Only the process that may write in `parent` calls it. Raises CheckpointError if `parent` is no folder, so that a run knows
    before its first save.
    """
    if os.path.lexists(parent) and not parent.is_dir():
        raise CheckpointError(f"{parent}: it is no folder, which the run needs there: remove it, or choose another output")
    names = "|".join([rf"{_PREFIX}[0-9]+", *map(re.escape, files)])
    for each in contents(parent):
        if re.fullmatch(rf"\.({names})\.[0-9]+", each.name):
            remove(parent / each.name)


def remove(path: Path) -> None:
    """Delete a folder as far as possible, or a file, or a link without its target. Raises OSError for a file or link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def set_aside(path: Path, folder: Path | None = None) -> Path:
    """Rename `path` to <name>.aside, or move it into `folder`, and return its new path. Raises OSError."""
    if folder is not None:
        folder.mkdir(exist_ok=True)
    aside = free(path.with_name(f"{path.name}.aside") if folder is None else folder / path.name)
    os.rename(path, aside)
    return aside


def free(path: Path) -> Path:
    """`path`, with a number appended if it exists already."""
    number = 1
    while os.path.lexists(found := path if number == 1 else path.with_name(f"{path.name}-{number}")):
        number += 1
    return found


def _write_images(folder: Path, images: Mapping[str, Image]) -> dict[str, Record]:
    """Write the files, and return their records by name. Each file is synced while the next is written and checksummed."""
    with ExitStack() as stack:
        # The stack ends the threads before it closes the files.
        files = {part: stack.enter_context(NewFile(folder / f"{part}{SAFETENSORS}")) for part in images}
        summing, syncing = (stack.enter_context(ThreadPoolExecutor(1)) for _ in range(2))
        records = {part: summing.submit(image.record) for part, image in images.items()}
        synced = []
        for part, image in images.items():
            files[part].write(image.header)
            files[part].write(image.data)
            synced.append(syncing.submit(files[part].sync))
        for each in synced:
            each.result()
        return {f"{part}{SAFETENSORS}": record.result() for part, record in records.items()}


def _remove(folder: Path) -> None:
    # Anything else stays, and makes the rename fail; rmtree would wait for the writer of a pipe.
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        shutil.rmtree(folder)
