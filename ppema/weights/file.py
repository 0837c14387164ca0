"""Weights in one safetensors file: every variable under its own name; a description and `data.normalize` in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from ppema.checkpoint.durable import Buffer, replace_file
from ppema.checkpoint.tensors import Arrays, Image, arrays_in, metadata_in, read_bytes
from ppema.config import SAFETENSORS
from ppema.config.sections.normalize import Normalization, numbers_of
from ppema.errors import CheckpointError, TrainingError, one_line, printable

_FORMAT = "ppema weights 1"


def is_file(weights: str) -> bool:
    """Whether the value of an argument `weights` is a path of such a file; otherwise it is "raw" or an average's name."""
    return weights.endswith(SAFETENSORS)


def write_weights(
    file: Path,
    arrays: Arrays,
    *,
    step: int | None,
    what: str,
    numbers: Mapping[str, Normalization] | None = None,
    model: str | None = None,
) -> None:
    """Write `arrays`, by variables' names, as weights after `step`.

    what: their description; numbers: those of `data.normalize` with which they were trained; model: the JSON of their
    model's description. Raises TrainingError if the file can not be written.
    """
    metadata = {"format": _FORMAT, "what": what} | ({} if step is None else {"step": str(step)})
    if numbers is not None:
        metadata["normalize"] = json.dumps({name: each.model_dump(mode="json") for name, each in numbers.items()})
    if model is not None:
        metadata["model"] = model
    image = Image.of(arrays, metadata)
    write_whole(file, image.header, image.data)


def write_whole(file: Path, *contents: Buffer) -> None:
    """Replace `file` by one of `contents`, one after the other. Raises TrainingError, and then `file` is unchanged."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, *contents)
    except OSError as error:
        raise TrainingError(f"{file}: the weights could not be written: {error}") from error


def read_weights(file: Path) -> dict[str, np.ndarray]:
    """The arrays in `file`, by variables' names. Any safetensors file is accepted, such as a checkpoint's raw.safetensors.

    The function does not compare them with a model; `put` does. Raises CheckpointError if the file is missing, damaged, or of
    a later format.
    """
    return read_described(file)[0]


def read_described(file: Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of `read_weights`, and their description; "" without one. Raises CheckpointError as `read_weights` does."""
    content = read_bytes(file)
    arrays = arrays_in(content, file)
    return arrays, _words(file, metadata_in(content))


def description(file: Path) -> str:
    """The description of the weights in `file`; "" without one. Raises CheckpointError as `read_weights` does."""
    return _words(file, _metadata(file))


def format_of(file: Path) -> str:
    """The format in the metadata of `file`: "pt" of PyTorch, "ppema weights 1"; "" without one. Raises CheckpointError."""
    return _metadata(file).get("format", "")


def model_in(file: Path) -> str | None:
    """The JSON of the model's description in the metadata of `file`; None without one. Raises CheckpointError.

    A key `model` in a file of another program is ignored.
    """
    metadata = _metadata(file)
    return metadata.get("model") if metadata.get("format") == _FORMAT else None


def config_in(file: Path) -> dict[str, Any] | None:
    """The resolved config in the model's description in the metadata of `file`; None without one. Raises CheckpointError."""
    written = model_in(file)
    if written is None:
        return None
    try:
        config = json.loads(written)["config"]
    except (ValueError, TypeError, KeyError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise CheckpointError(f"{file}: the description in its metadata `model` is damaged: it has no config")
    return config


def numbers_in(file: Path) -> dict[str, Normalization] | None:
    """The numbers of `data.normalize` with which the weights in `file` were trained; None if it has none.

    Raises CheckpointError if the file or the numbers can not be read.
    """
    text = _metadata(file).get("normalize", "null")
    try:
        return numbers_of(json.loads(text))
    except ValueError as error:
        raise CheckpointError(f"{file}: the numbers in its metadata `normalize` can not be read: {printable(text)}") from error


def _metadata(file: Path) -> dict[str, str]:
    try:
        with safe_open(file, framework="numpy") as opened:
            return opened.metadata() or {}
    except Exception as error:
        raise CheckpointError(f"{file}: {one_line(error)}") from error


def _words(file: Path, metadata: Mapping[str, str]) -> str:
    """The description in a file's metadata. Raises CheckpointError for a later format."""
    written = metadata.get("format", "")
    if written.startswith("ppema weights") and written != _FORMAT:
        raise CheckpointError(f"{file}: its format is {written!r}; this version of ppema reads {_FORMAT!r}")
    return printable(metadata.get("what", ""))
