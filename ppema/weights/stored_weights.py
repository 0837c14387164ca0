"""The weights that are evaluated, predict or are exported: those of a checkpoint, or of a file of weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ppema.checkpoint.checkpoint import Checkpoint, with_weights
from ppema.checkpoint.manifest import Manifest
from ppema.checkpoint.paths import checkpoints_of
from ppema.checkpoint.store import is_pointer
from ppema.checkpoint.tensors import Arrays
from ppema.config import RAW, Config
from ppema.config.sections.normalize import Normalization, numbers_of
from ppema.distributed.parcels import packed, unpacked
from ppema.distributed.shared_work import by_first
from ppema.distributed.world import ALONE, World
from ppema.errors import CheckpointError, Naming, PpemaError
from ppema.programs.model.normalization import as_trained, kept_by_run
from ppema.programs.model.shared_config import completed
from ppema.weights.file import config_in, is_file, numbers_in, read_described


@dataclass(frozen=True)
class StoredWeights:
    """Arrays by variables' names.

    source: their checkpoint's folder, or their file; name: "raw", an average's, or the file's; what: a description; step: of
    their run, if known; structured: names by place, of a checkpoint; kept: of the resolved config of their run, what is known;
    checkpoint: their own, None for a file.
    """

    source: Path
    name: str
    what: str
    step: int | None
    structured: Mapping[str, str]
    kept: Mapping[str, Any]
    checkpoint: Checkpoint | None
    _read: Arrays | None = field(default=None, repr=False, compare=False)

    @classmethod
    def find(
        cls,
        config: Config,
        weights: str | os.PathLike[str] | None,
        checkpoint: str | os.PathLike[str] | None = None,
        world: World = ALONE,
    ) -> StoredWeights:
        """The weights of a run of `config`: "raw" or an average's name in `checkpoint`, or a file *.safetensors.

        weights: None means "raw", and a checkpoint that holds all averages too. checkpoint: "last" (the default), "best", or a
        path. world: its rank 0 alone reads files; the other ranks get all but the arrays, and what files keep of a config.
        Raises CheckpointError, and PpemaError for a file and a checkpoint.
        """
        if world.alone:
            return cls._found(config, weights, checkpoint)
        read: StoredWeights | None = None

        def sent() -> bytes:
            nonlocal read
            read = cls._found(config, weights, checkpoint)
            manifest = None if read.checkpoint is None else read.checkpoint.manifest.model_dump_json()
            return packed([str(read.source), read.name, read.what, read.step, manifest])

        (source, name, what, step, manifest), _ = unpacked(by_first(world, sent, "the weights"))
        if read is not None:
            return read
        there = None if manifest is None else Checkpoint(Path(source), Manifest.model_validate_json(manifest))
        return cls(Path(source), name, what, step, {}, {}, there)

    @classmethod
    def _found(
        cls, config: Config, weights: str | os.PathLike[str] | None, checkpoint: str | os.PathLike[str] | None
    ) -> StoredWeights:
        weights = None if weights is None else os.fspath(weights)
        if weights is None or not is_file(weights):
            which = os.fspath(checkpoint or "last")
            return cls.of_checkpoint(checkpoints_of(config).find(which, with_weights(weights)), weights or RAW)
        if checkpoint is not None:
            raise PpemaError(Naming("{checkpoint}: {} is a file of weights: leave it out", weights))
        return cls.of_file(Path(weights))

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint, weights: str) -> StoredWeights:
        """The weights of `checkpoint`, "raw" or an average's name. Raises CheckpointError for an unknown name."""
        manifest, step = checkpoint.manifest, checkpoint.step
        if weights != RAW:
            checkpoint.shadow_of(weights)  # raises
        what = f"{weights} at step {step}"
        return cls(checkpoint.path, weights, what, step, manifest.structured, manifest.config, checkpoint)

    @classmethod
    def of_file(cls, file: Path) -> StoredWeights:
        """The weights in `file`, *.safetensors. Raises CheckpointError."""
        arrays, what = read_described(file)
        numbers, kept = numbers_in(file), config_in(file)
        if kept is None:
            kept = {} if numbers is None else {"data": {"normalize": numbers}}
        return cls(file, file.stem, what or str(file), None, {}, kept, None, arrays)

    @cached_property
    def arrays(self) -> Arrays:
        """[…] by variables' names; rank 0 alone has them.

        Raises CheckpointError for an average without a value, and for a file that is damaged.
        """
        if self._read is not None:
            return self._read
        assert self.checkpoint is not None
        return self.checkpoint.weights(self.name)

    @property
    def numbers(self) -> Mapping[str, Normalization] | None:
        """Those of `data.normalize` with which the weights were trained; None if there are none, or none are known."""
        return numbers_of(self.kept.get("data", {}).get("normalize"))

    def as_trained(self, config: Config, world: World = ALONE) -> Config:
        """`config` with what the run of these weights keeps: numbers of `data.normalize`, and names of classes.

        world: that of `find`.

        What a file does not have is taken from the newest checkpoint of the run of `config`. Numbers may still be unmeasured
        then. Raises ConfigError if `config` has other ones: its inputs or labels would mean something else.
        """

        def complete(config: Config) -> Config:
            made = as_trained(config, self.kept, self.source)
            return made if self.checkpoint is not None else kept_by_run(made)

        return completed(world, config, complete)

    def placed(self, checkpoint: Checkpoint) -> StoredWeights:
        """The same weights, with the places in `checkpoint`. Raises CheckpointError if it belongs to another model."""
        structured = checkpoint.manifest.structured
        if lost := sorted(set(structured.values()) - set(self.arrays)):
            raise CheckpointError(f"{checkpoint.path}: its {lost[0]!r} is not among the weights: they are another model's")
        return replace(self, structured=structured)


def weights_facts(weights: str | os.PathLike[str] | None, checkpoint: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The arguments of `StoredWeights.find` that its ranks have in common, by name.

    Rank 0 alone reads the file or the checkpoint: its folder may have another path on another machine.
    """
    weights, checkpoint = (None if each is None else os.fspath(each) for each in (weights, checkpoint))
    if weights is not None and is_file(weights):
        weights = Path(weights).name
    if checkpoint is not None and not is_pointer(checkpoint):
        checkpoint = f".../{Path(checkpoint).name}"
    return {"weights": weights, "checkpoint": checkpoint}


def newest_checkpoint(config: Config) -> Checkpoint | None:
    """The newest intact checkpoint of the run of `config`; None without one."""
    try:
        return checkpoints_of(config).newest_intact(Checkpoint.open)[0]
    except CheckpointError:
        return None
