"""Where weights come from: a checkpoint of ppema, or a file that another program wrote."""

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
from ppema.weights.file import read_weights
from ppema.weights.pdparams import read_pdparams


@dataclass(frozen=True)
class Source:
    """Arrays by the names that the source has for them; what: it is, in words."""

    what: str
    arrays: dict[str, np.ndarray]


def open_source(path: str, weights: str = RAW) -> Source:
    """The weights that `path` leads to: a checkpoint's folder, that of a run or of its checkpoints (the last one), the file
    `last` or `best` in it, or a file *.safetensors or *.pdparams.

    weights: which of a checkpoint's, "raw" or an average's name. Its arrays have the names of their places in the model, as
    the names of variables shift when a model becomes a part of another; those without a place, the variable's.

    Raises CheckpointError for what is missing, damaged or none of these.
    """
    file = Path(path)
    if path.endswith(SAFETENSORS):
        return Source(path, read_weights(file))
    if path.endswith(PDPARAMS):
        return Source(path, read_pdparams(file))
    found = _checkpoint(file, with_weights(weights))
    return Source(f"{found.path} ({weights})", by_place(found.weights(weights), found.manifest.structured))


def by_place(arrays: Mapping[str, np.ndarray], structured: Mapping[str, str]) -> dict[str, np.ndarray]:
    """`arrays`, by variables' names, under the places that `structured` gives them, all of them where there are several."""
    placed = {place: arrays[name] for place, name in structured.items() if name in arrays}
    with_place = set(structured.values())
    return placed | {name: array for name, array in arrays.items() if name not in with_place}


def _checkpoint(path: Path, read: Reader) -> Checkpoint:
    found = checkpoint_at(path, read)
    if found is not None:
        return found
    problem = "it holds no weights" if os.path.exists(path) else "there is no such file or folder"
    kinds = f"a checkpoint, a run's output folder with checkpoints, or a file *{SAFETENSORS} or *{PDPARAMS}"
    raise CheckpointError(f"{path}: {problem}: name {kinds}")
