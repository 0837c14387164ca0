"""The end of `ppema train`: the best weights, where they are, and what to do with them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppema.checkpoint.checkpoint import Checkpoint
from ppema.checkpoint.paths import checkpoints_of
from ppema.checkpoint.store import pointer_of
from ppema.cli.pasted.again import beside, command_line
from ppema.config import RAW, Config
from ppema.errors import CheckpointError
from ppema.log.figure_texts import figure
from ppema.prediction.columns import has_columns

if TYPE_CHECKING:
    from ppema.training.loop import Result


def best_lines(config: Config, result: Result) -> Iterator[str]:
    """A line for each monitored metric with its best value, and the checkpoint that has it."""
    for monitor, best in result.best.items():
        line = f"best: {monitor} {figure(best.value)} after step {best.step}"
        try:
            found = checkpoints_of(config).find(pointer_of(monitor, config.train.monitors), Checkpoint.open)
        except CheckpointError:  # a failed save, with train.failed_save: go_on
            yield f"{line}, which is not saved"
        else:
            yield f"{line}: {found.path}"


def next_commands(launcher: Sequence[str], arguments: argparse.Namespace, config: Config, result: Result) -> list[str]:
    """The commands that a user may want next, for the best weights, quoted for a shell.

    Without `train.monitor`: for the first average of the last checkpoint. The last two show the whole run.
    """
    monitor = next((each for each in config.train.monitors if each in result.best), None)
    weights = next(iter(config.averages), RAW) if monitor is None else monitor.partition("/")[0]
    chosen = ["--weights", weights]
    if monitor is not None:
        chosen += ["--checkpoint", pointer_of(monitor, config.train.monitors)]
    to = f"{Path(result.output).name}-{weights}"
    options = {
        "eval": chosen,
        "predict": [*chosen, "--input", "data.eval", "--to", f"{to}{_suffix(config)}"],
        "export": [*chosen, "--format", "paddle", "--to", to],
    }
    run = command_line(arguments)
    commands = [[*beside(launcher, command), *run, *more] for command, more in options.items()]
    commands += [[*beside(launcher, command), str(result.output)] for command in ("board", "report")]
    return [shlex.join(words) for words in commands]


def _suffix(config: Config) -> str:
    """Of a file of predictions: a table's if each target is a number or a few, as outputs have the shapes of targets."""
    try:
        fields = checkpoints_of(config).find("last", Checkpoint.open).manifest.fields
    except CheckpointError:
        return ".csv"
    return ".csv" if all(has_columns(field.shape) for field in fields if field.is_target) else ".jsonl"
