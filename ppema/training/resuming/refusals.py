"""Refuses to start or continue a run in a folder if that would lose files, or mix two runs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from ppema.checkpoint.best import undirected, which_is_best
from ppema.checkpoint.checkpoint import Checkpoint, Reader
from ppema.checkpoint.folder import free, step_folder
from ppema.checkpoint.store import Checkpoints
from ppema.config import Config
from ppema.errors import CheckpointError, Remedy
from ppema.log.records import newest_saved, read_metrics
from ppema.log.traces import lost


def newest_intact(checkpoints: Checkpoints, read: Reader) -> tuple[Checkpoint | None, list[str]]:
    """`Checkpoints.newest_intact`, with a line if the run's records show a later checkpoint. Raises CheckpointError."""
    output = checkpoints.folder.parent
    try:
        checkpoint, skipped = checkpoints.newest_intact(read)
    except CheckpointError as error:
        raise CheckpointError(str(error), anew(output)) from error
    saved = newest_saved(output)
    if checkpoint is not None and not skipped and saved is not None and saved.step > checkpoint.step:
        skipped = [f"{step_folder(checkpoints.folder, saved.step)}: it is missing, and metrics.jsonl says that it was saved"]
    return checkpoint, skipped


def check_not_lost(checkpoints: Checkpoints, save_every: int) -> None:
    """Raises CheckpointError if the run has no checkpoint, but its other files show that there was one.

    save_every: steps between two saves.
    """
    folder, output = checkpoints.folder, checkpoints.folder.parent
    found = "it holds no checkpoint" if os.path.lexists(folder) else "it is missing"
    saved = newest_saved(output)
    if saved is not None and saved.origin is not None:
        raise CheckpointError(
            f"{folder}: {found}, and the run went on from {saved.origin!r}: go on from that again, or choose another output",
            Remedy("to go on from it again", resume=saved.origin) if saved.origin.isprintable() else None,
        )
    sign = lost(output, save_every)
    if sign is not None:
        raise CheckpointError(
            f"{folder}: {found}, but {sign}: mount or restore what is missing, or begin anew in another output; nothing was "
            "changed",
            anew(output),
        )


def check_new(checkpoints: Checkpoints) -> None:
    """Raises CheckpointError if the folder already has checkpoints or records of a run."""
    output = checkpoints.folder.parent
    if checkpoints.exists():
        found = "this run has checkpoints already"
    elif read_metrics(output) or newest_saved(output):
        found = "this run has records already"
    else:
        return
    raise CheckpointError(
        f"{output}: {found}: resume it (resume: auto) or choose another output", Remedy("to resume it", resume="auto")
    )


def check_directions(config: Config) -> None:
    """Raises ConfigError for a monitored metric of which nothing says whether more or less of it is better."""
    if metrics := undirected(config.train.watched, config.train.mode):
        with config.at("train"):
            raise which_is_best(metrics)


def check_in_place(checkpoint: Checkpoint) -> None:
    """Raises CheckpointError for a checkpoint of this run that was set aside: the records before it are gone."""
    folder = checkpoint.path.parent
    if checkpoint.path.name != step_folder(folder, checkpoint.step).name:
        raise CheckpointError(
            f"{checkpoint.path}: it was set aside, or renamed: go on from it in another output",
            Remedy("to do that", overrides=_other_output(folder.parent)),
        )


def check_unmixed(checkpoints: Checkpoints, checkpoint: Checkpoint) -> None:
    """Raises CheckpointError if the folder has another run.

    Records of later steps alone belong to this run, which was killed before it saved.
    """
    output = checkpoints.folder.parent
    saved = newest_saved(output)
    if checkpoints.exists():
        found = f"{checkpoints.folder}: there are checkpoints of a run"
    elif any(record["step"] <= checkpoint.step for record in read_metrics(output)) or (saved and saved.origin is None):
        found = f"{output}: there are records of a run"
    else:
        return
    raise CheckpointError(
        f"{found}, and going on from {checkpoint.path} would mix two runs in one folder: choose another output",
        Remedy("to do that", overrides=_other_output(output)),
    )


def anew(output: Path) -> Remedy:
    """The remedy of a new run in another folder. output: the folder of the run."""
    return Remedy("to begin anew", resume="auto", overrides=_other_output(output))


def with_its_weights(path: Path) -> Remedy:
    """The remedy of a new run whose `init_from` is the checkpoint at `path`."""
    return Remedy("to begin a new run with its weights", resume="auto", overrides=(f"init_from.path={_yaml(path)}",))


def _other_output(output: Path) -> tuple[str]:
    """The override of `output` by a free name beside it."""
    return (f"output={_yaml(free(output))}",)


def _yaml(path: Path) -> str:
    """`path` as a value in YAML."""
    text = str(path)
    # Text without a slash could be a number or "null".
    return text if re.fullmatch(r"(?=.*/)[A-Za-z/.][A-Za-z0-9_/.-]*", text) else json.dumps(text)
