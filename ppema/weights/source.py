"""The source of initial weights: a checkpoint of ppema, or a file of another program."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppema.checkpoint.checkpoint import Checkpoint, Reader, with_weights
from ppema.checkpoint.store import checkpoint_at
from ppema.config import PDPARAMS, RAW, SAFETENSORS
from ppema.errors import CheckpointError
from ppema.weights.file import format_of, read_weights
from ppema.weights.pdparams import read_pdparams

# Frameworks by the suffixes of their files.
_FOREIGN = {
    **dict.fromkeys((".pt", ".pth", ".bin"), "PyTorch"),
    **dict.fromkeys((".h5", ".keras"), "Keras"),
    **dict.fromkeys((".ckpt", ".index", ".pb"), "TensorFlow or PyTorch"),
}


@dataclass(frozen=True)
class Source:
    """The arrays of a source, by their names in it.

    what: a description of the source. format: "paddle", or that in the metadata of a safetensors file, such as "pt" of PyTorch;
    "" without one.
    """

    what: str
    arrays: dict[str, np.ndarray]
    format: str = "paddle"


def open_source(path: str, weights: str = RAW) -> Source:
    """The weights at `path`.

    path: the folder of a checkpoint; the folder of a run or of its checkpoints (the last one); a file `last` or `best` there;
    or a file *.safetensors or *.pdparams. weights: "raw" or an average's name, for a checkpoint.

    The arrays of a checkpoint are named by their places in the model, because the names of variables change if the model
    becomes a part of another. An array without a place keeps its variable's name.

    Raises CheckpointError if the source is missing, damaged or of another kind.
    """
    file = Path(path)
    if path.endswith(SAFETENSORS):
        arrays = read_weights(file)
        return Source(path, arrays, format_of(file))
    if path.endswith(PDPARAMS):
        return Source(path, read_pdparams(file))
    found = _checkpoint(file, with_weights(weights))
    return Source(f"{found.path} ({weights})", by_place(found.weights(weights), found.manifest.structured))


def by_place(arrays: Mapping[str, np.ndarray], structured: Mapping[str, str]) -> dict[str, np.ndarray]:
    """`arrays` by place instead of variables' names. An array with several places is under each of them.

    structured: the variables' names by place. An array without a place keeps its variable's name.
    """
    placed = {place: arrays[name] for place, name in structured.items() if name in arrays}
    with_place = set(structured.values())
    return placed | {name: array for name, array in arrays.items() if name not in with_place}


def _checkpoint(path: Path, read: Reader) -> Checkpoint:
    found = checkpoint_at(path, read)
    if found is not None:
        return found
    if (framework := _FOREIGN.get(path.suffix)) and path.is_file():
        raise CheckpointError(f"{path}: a file of {framework} can not be read: save its weights as *{SAFETENSORS} there")
    problem = "it holds no weights" if os.path.exists(path) else "there is no such file or folder"
    kinds = f"a checkpoint, a run's output folder with checkpoints, or a file *{SAFETENSORS} or *{PDPARAMS}"
    raise CheckpointError(f"{path}: {problem}: name {kinds}")
