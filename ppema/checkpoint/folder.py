"""A folder of arrays (safetensors) and a manifest (JSON) that appears under its name whole, or not at all, and then lasts."""

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
_LARGEST_MANIFEST = 2**28  # bytes; some hundred for each variable


def step_folder(parent: Path, step: int) -> Path:
    """The folder of `step`."""
    return parent / f"{_PREFIX}{step:08d}"


def step_folders(parent: Path) -> list[Path]:
    """The folders of all steps in `parent`, in the steps' order, and links in their place, wherever they lead.

    None where `parent` is missing. Raises CheckpointError where it can not be read.
    """
    found = [each for each in contents(parent) if each.is_symlink() or each.is_dir(follow_symlinks=False)]
    return sorted((parent / each.name for each in found if is_step(Path(each.name))), key=step_of)


def contents(folder: Path) -> list[os.DirEntry[str]]:
    """What is in `folder`, by name; nothing where there is no such folder. Raises CheckpointError where it can not be read."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda each: each.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"{folder}: it can not be read: {error.strerror}") from error


def is_step(path: Path) -> bool:
    """Whether `path` has a name that `step_folder` gives."""
    return re.fullmatch(rf"{_PREFIX}[0-9]+", path.name) is not None


def step_of(folder: Path) -> int:
    """The step that `step_folder` named `folder` after."""
    return int(folder.name.removeprefix(_PREFIX))


def write_folder(target: Path, images: Mapping[str, Image], manifest: FolderManifest, what: str) -> str:
    """Write each part's image as <part>.safetensors, and `manifest` with their checksums, into a new folder `target`.

    It replaces one that is there. what: they are, for the message. Returns the manifest's checksum. Raises TrainingError when
    it can not be written; what was there before is as it was. The folder that `target` lies in is made, but none above it: a
    run's folder that was removed does not come back half.
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
    """The manifest in `folder`, which is to be `what`. Raises CheckpointError for one that is missing, damaged, or of another
    format.
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
    """The arrays of a part of the folder. Raises CheckpointError where they are not those that were written."""
    name = f"{part}{SAFETENSORS}"
    if name not in manifest.files:
        raise CheckpointError(f"{folder / MANIFEST}: it knows no file {name}")
    return read_arrays(folder / name, manifest.files[name])


def problems(folder: Path, manifest: FolderManifest) -> list[str]:
    """What is wrong with the files of the folder, a line each; all of them are read."""
    found = []
    for name, record in manifest.files.items():
        try:
            read_bytes(folder / name, record)
        except CheckpointError as error:
            found.append(str(error))
    return found


def clear_partials(parent: Path, files: Iterable[str] = ()) -> None:
    """Remove what killed processes left half-written in `parent`: folders of steps, and those of the `files`.

    Only who alone may write there calls it. Raises CheckpointError where something else than a folder is there, which a run
    had better know before it has anything to save.
    """
    if os.path.lexists(parent) and not parent.is_dir():
        raise CheckpointError(f"{parent}: it is no folder, which the run needs there: remove it, or choose another output")
    names = "|".join([rf"{_PREFIX}[0-9]+", *map(re.escape, files)])
    for each in contents(parent):
        if re.fullmatch(rf"\.({names})\.[0-9]+", each.name):
            remove(parent / each.name)


def remove(path: Path) -> None:
    """Delete a folder with all that is in it, as far as that can be; of a link, the link alone. Raises OSError for a file."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def set_aside(path: Path, folder: Path | None = None) -> Path:
    """Rename `path` to <name>.aside, or move it into `folder`, and return where it is then. Raises OSError."""
    if folder is not None:
        folder.mkdir(exist_ok=True)
    aside = free(path.with_name(f"{path.name}.aside") if folder is None else folder / path.name)
    os.rename(path, aside)
    return aside


def free(path: Path) -> Path:
    """`path`, or with a number behind it where something is there already."""
    number = 1
    while os.path.lexists(found := path if number == 1 else path.with_name(f"{path.name}-{number}")):
        number += 1
    return found


def _write_images(folder: Path, images: Mapping[str, Image]) -> dict[str, Record]:
    """Write the files, and return what they are, by name: the disk works on each while the next is written and summed."""
    with ExitStack() as stack:
        # Begun after the files, and so ended before they are closed.
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
    # Anything else in its place makes the rename fail; rmtree would wait for the writer of a pipe.
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        shutil.rmtree(folder)
