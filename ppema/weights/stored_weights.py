"""The weights that predict or are exported: those of a checkpoint, or of a file of weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ppema.checkpoint.checkpoint import Checkpoint, with_weights
from ppema.checkpoint.paths import checkpoints_of
from ppema.checkpoint.tensors import Arrays
from ppema.config import Config
from ppema.config.sections.normalize import Normalization, numbers_of
from ppema.errors import CheckpointError, Naming, PpemaError
from ppema.weights.file import is_file, numbers_in, read_described


@dataclass(frozen=True)
class StoredWeights:
    """Arrays by variables' names.

    source: their checkpoint's folder, or their file; name: "raw", an average's, or the file's; what: a description; step: of
    their run, if known; structured: names by place, of a checkpoint; numbers: of `data.normalize`; checkpoint: their own, None
    for a file.
    """

    arrays: Arrays
    source: Path
    name: str
    what: str
    step: int | None
    structured: Mapping[str, str]
    numbers: Mapping[str, Normalization] | None
    checkpoint: Checkpoint | None

    @classmethod
    def find(
        cls, config: Config, weights: str | os.PathLike[str], checkpoint: str | os.PathLike[str] | None = None
    ) -> StoredWeights:
        """The weights of a run of `config`: "raw" or an average's name in `checkpoint`, or a file *.safetensors.

        checkpoint: "last" (the default), "best", or a path. Raises CheckpointError, and PpemaError for a file and a checkpoint.
        """
        weights = os.fspath(weights)
        if not is_file(weights):
            which = os.fspath(checkpoint or "last")
            return cls.of_checkpoint(checkpoints_of(config).find(which, with_weights(weights)), weights)
        if checkpoint is not None:
            raise PpemaError(Naming("{checkpoint}: {} is a file of weights: leave it out", weights))
        return cls.of_file(Path(weights))

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint, weights: str) -> StoredWeights:
        """The weights of `checkpoint`, "raw" or an average's name. Raises CheckpointError."""
        manifest = checkpoint.manifest
        step = manifest.state.step
        numbers = numbers_of(manifest.config.get("data", {}).get("normalize"))
        arrays = checkpoint.weights(weights)
        return cls(
            arrays, checkpoint.path, weights, f"{weights} at step {step}", step, manifest.structured, numbers, checkpoint
        )

    @classmethod
    def of_file(cls, file: Path) -> StoredWeights:
        """The weights in `file`, *.safetensors. Raises CheckpointError."""
        arrays, what = read_described(file)
        return cls(arrays, file, file.stem, what or str(file), None, {}, numbers_in(file), None)

    def placed(self, checkpoint: Checkpoint) -> StoredWeights:
        """The same weights, with the places in `checkpoint`. Raises CheckpointError if it belongs to another model."""
        structured = checkpoint.manifest.structured
        if lost := sorted(set(structured.values()) - set(self.arrays)):
            raise CheckpointError(f"{checkpoint.path}: its {lost[0]!r} is not among the weights: they are another model's")
        return replace(self, structured=structured)


def newest_checkpoint(config: Config) -> Checkpoint | None:
    """The newest intact checkpoint of the run of `config`; None without one."""
    try:
        return checkpoints_of(config).newest_intact(Checkpoint.open)[0]
    except CheckpointError:
        return None
