"""A folder of arrays (safetensors) and a manifest (JSON) that appears under its name whole, or not at all."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ppema.averaging.precision import type_of
from ppema.errors import CheckpointError, TrainingError, one_line

MANIFEST = "manifest.json"
_PREFIX = "step-"

Arrays = Mapping[str, np.ndarray]


def step_folder(parent: Path, step: int) -> Path:
    """The folder of `step`."""
    return parent / f"{_PREFIX}{step:08d}"


def step_folders(parent: Path) -> list[Path]:
    """The folders of all steps in `parent`, in the steps' order; none where it is missing."""
    found = (path for path in parent.glob(f"{_PREFIX}*") if re.fullmatch(rf"{_PREFIX}[0-9]+", path.name) and path.is_dir())
    return sorted(found, key=step_of)


def step_of(folder: Path) -> int:
    """The step that `step_folder` named `folder` after."""
    return int(folder.name.removeprefix(_PREFIX))


def write_folder(target: Path, parts: Mapping[str, Arrays], manifest: str, what: str) -> None:
    """Write each part's arrays as <part>.safetensors, and the manifest, into the folder `target`, replacing one that is there.

    what: they are, for the message. Raises TrainingError when it can not be written; what was there before is as it was.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for part, arrays in parts.items():
            save_arrays(arrays, partial / f"{part}.safetensors")
        (partial / MANIFEST).write_text(manifest, encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        # safetensors reports a full disk as an error of its own.
        if isinstance(error, (OSError, SafetensorError)):
            raise TrainingError(f"{target}: the {what} could not be written: {error}") from error
        raise


def save_arrays(arrays: Arrays, file: Path, said: Mapping[str, str] | None = None) -> None:
    """Write `arrays` to a safetensors file, with `said` as its metadata. Raises OSError and SafetensorError.

    What is bfloat16, which numpy does not know, stands there as uint16, its bits, and is named in the metadata.
    """
    halves = {name: "bfloat16" for name, array in arrays.items() if type_of(array) == "bfloat16"}
    save_file(dict(arrays), file, metadata={**halves, **(said or {})} or None)


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file. Raises CheckpointError where it is missing or damaged."""
    try:
        kind = file.stat().st_mode
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror}") from error
    if not stat.S_ISREG(kind):
        raise CheckpointError(f"{file}: it is no regular file")
    try:
        return load_file(file)
    except Exception as error:
        # A damaged header makes safetensors raise whatever its content leads to.
        raise CheckpointError(f"{file}: {one_line(error)}") from error
