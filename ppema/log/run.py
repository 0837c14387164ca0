"""Reads a run from its folder: its config, checkpoints and records. No paddle."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ppema.checkpoint.checkpoint import Checkpoint
from ppema.checkpoint.folder import step_folders
from ppema.checkpoint.store import BEST, LAST, Checkpoints
from ppema.config import Config, load_config
from ppema.errors import CheckpointError, PpemaError
from ppema.log.records import read_metrics

_CONFIG = "config.yml"


@dataclass(frozen=True)
class Records:
    """The lines of a run's metrics.jsonl, in order, as mappings.

    train: one for each log interval, with step, epoch, seconds, loss (the mean), lr, skipped, decay and health by average,
    samples_per_second, data_wait (the share of the time, in [0, 1]), memory_mib and gpu_memory_mib (the largest so far), the
    parts of the loss as loss.<name>, and norms with `train.log_norms`. evaluations: one for each evaluated set of weights, with
    step, epoch, seconds, weights ("raw" or an average's name), and the measures by name. A non-finite number is None.
    seconds: of the run's steps so far, without evaluation and saving; None if unknown.
    """

    train: tuple[dict[str, Any], ...]
    evaluations: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Run:
    """A run in the folder `path`, finished or not.

    Each attribute is read at its first use and then kept. To see later records of a running run, call `ppema.run(path)` again.
    """

    path: Path

    @cached_property
    def config(self) -> Config:
        """The resolved config. `output` is this folder, even if it was moved or copied. Raises ConfigError."""
        config = load_config(self.path / _CONFIG)
        there = config.output is not None and os.path.isdir(config.output) and os.path.samefile(config.output, self.path)
        return config if there else config.model_copy(update={"output": str(self.path)})

    @cached_property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """All checkpoints, in the order of their steps. Raises CheckpointError if the manifest of one is damaged."""
        found = []
        for folder in step_folders(self.path / "checkpoints"):
            try:
                found.append(Checkpoint.open(folder))
            except CheckpointError:
                # A running run may have deleted it in the meantime.
                if os.path.lexists(folder):
                    raise
        return tuple(found)

    @cached_property
    def last(self) -> Checkpoint:
        """The newest checkpoint. Raises CheckpointError if there is none."""
        return self.checkpoint(LAST)

    @cached_property
    def best(self) -> Checkpoint:
        """The best checkpoint by the first metric of `train.monitor`. Raises CheckpointError if there is none."""
        return self.checkpoint(BEST)

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint "last", "best" or "best-<weights>-<metric>". Raises CheckpointError if there is none of that name."""
        store = Checkpoints(self.path / "checkpoints")
        known = store.pointers()
        if name not in (LAST, BEST, *known):
            raise CheckpointError(f"{store.folder}: there is no checkpoint {name!r}; there are {', '.join(known) or 'none'}")
        return store.find(name, Checkpoint.open)

    @cached_property
    def records(self) -> Records:
        """The records of training and evaluation. Raises SetupError if the file can not be read."""
        lines = read_metrics(self.path)
        train, evaluations = (tuple(line for line in lines if line["kind"] == kind) for kind in ("train", "eval"))
        return Records(train, evaluations)


def run(path: str | os.PathLike[str]) -> Run:
    """The run in the folder `path`, the `output` of its config. Changes no file and does not load paddle.

    `checkpoint.weights(name)` of its checkpoints reads arrays and compares them with their checksums. Raises PpemaError if
    `path` is not the folder of a run.
    """
    found = Path(path)
    try:
        there = (found / _CONFIG).is_file()
    except OSError as error:
        raise PpemaError(f"{found}: it can not be read: {error.strerror}") from error
    if not there:
        problem = f"it has no {_CONFIG}" if os.path.isdir(found) else "there is no such folder"
        raise PpemaError(f"{found}: this is no run of ppema: {problem}: name the output folder of a run")
    return Run(found)
