"""Weights in one file: a safetensors file of every variable under its own name, which says in its metadata what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open

from ppema.checkpoint.durable import Buffer, replace_file
from ppema.checkpoint.tensors import Arrays, Image, arrays_in, metadata_in, read_bytes
from ppema.config import SAFETENSORS
from ppema.errors import CheckpointError, TrainingError, one_line, printable

_FORMAT = "ppema weights 1"


def is_file(weights: str) -> bool:
    """Whether `weights`, as an argument `weights`, is the path of such a file, and not "raw" or an average's name."""
    return weights.endswith(SAFETENSORS)


def write_weights(file: Path, arrays: Arrays, *, step: int | None, what: str) -> None:
    """Write `arrays`, the weights after `step`, that are what `what` says. Raises TrainingError where it can not be done."""
    said = {"format": _FORMAT, "what": what} | ({} if step is None else {"step": str(step)})
    image = Image.of(arrays, said)
    write_whole(file, image.header, image.data)


def write_whole(file: Path, *contents: Buffer) -> None:
    """Let `contents`, one after the other, be the weights in `file`; where that fails it is as it was. Raises TrainingError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, *contents)
    except OSError as error:
        raise TrainingError(f"{file}: the weights could not be written: {error}") from error


def read_weights(file: Path) -> dict[str, np.ndarray]:
    """The arrays in `file`, by the variables' names; any safetensors file will do, such as a checkpoint's raw.safetensors.

    Whether they are a model's is seen when they are put in place of its variables. Raises CheckpointError where the file is
    missing, damaged, or of a later format.
    """
    return read_described(file)[0]


def read_described(file: Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays as `read_weights` gives them, and what they are, in words; "" where the file does not say."""
    content = read_bytes(file)
    arrays = arrays_in(content, file)
    return arrays, _words(file, metadata_in(content))


def description(file: Path) -> str:
    """What the weights in `file` are, in words; "" where it does not say. Raises CheckpointError as `read_weights` does."""
    try:
        with safe_open(file, framework="numpy") as opened:
            said = opened.metadata() or {}
    except Exception as error:
        raise CheckpointError(f"{file}: {one_line(error)}") from error
    return _words(file, said)


def _words(file: Path, said: Mapping[str, str]) -> str:
    """What the metadata of a file says of it. Raises CheckpointError for a later format."""
    written = said.get("format", "")
    if written.startswith("ppema weights") and written != _FORMAT:
        raise CheckpointError(f"{file}: its format is {written!r}; this version of ppema reads {_FORMAT!r}")
    return printable(said.get("what", ""))
