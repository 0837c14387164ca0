"""Measures saving: the loop's wait for a checkpoint, and the speed of writing it.

ResNet-50 with AdamW and one average: weights, two moments and shadows, about 410 MB in some 850 arrays.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import paddle

from benchmarks.measure import Figure, Found, Options, side_by_side, timed
from ppema.checkpoint.durable import write_file
from ppema.checkpoint.lock import locked
from ppema.checkpoint.state import BEGINNING, Losses
from ppema.checkpoint.store import Checkpoints
from ppema.config import Config
from ppema.log.log import RunLog
from ppema.log.terminal.progress import progress
from ppema.training.resuming.resume import manifest_of
from ppema.training.saving.save import Saver
from ppema.training.saving.statecopy import StateCopy
from ppema.training.setup import TrainingRun, prepare_training


def measure(options: Options) -> Found:
    """The two figures. They depend on the disk of `options.folder`, where the files are written. Raises PpemaError."""
    with (
        tempfile.TemporaryDirectory(dir=options.folder, prefix="ppema-benchmark-") as output,
        closing(prepare_training(_config(Path(output)))) as run,
        paddle.static.scope_guard(run.scope),
    ):
        return Found([_stall(options.rounds, run, Path(output)), _speed(options.rounds, run, Path(output))])


def _config(output: Path) -> Config:
    data = {"name": "synthetic", "samples": 8, "shape": [3, 32, 32], "classes": 10, "batch_size": 4}
    return Config.model_validate(
        {
            "model": {"name": "paddle.vision.models.resnet50", "args": {"num_classes": 1000}},
            "data": {"train": data, "eval": {**data, "split": "test"}},
            "optimizer": {"name": "AdamW"},
            "lr": 0.001,
            "averages": {"ema": {"decay": 0.999}},
            "train": {"epochs": 1, "keep": 1},
            "output": str(output),
        }
    )


def _stall(rounds: int, run: TrainingRun, output: Path) -> Figure:
    """The loop's wait for a save while nothing else is being written. Reference: one copy of the same arrays by numpy."""
    arrays = [array for part in run.read().values() for array in part.values()]
    copies = [np.zeros_like(array) for array in arrays]
    steps = count(1)

    def copy() -> None:
        for source, target in zip(arrays, copies, strict=True):
            np.copyto(target, source)

    with _saver(run, output) as saver:

        def save() -> float:
            state = replace(BEGINNING, step=next(steps))
            seconds = timed(lambda: saver.save(state, {}, {}, Losses(), []))
            saver.finish()
            return seconds

        ours, theirs = side_by_side(rounds, save, lambda: timed(copy))
    size = f"{sum(array.nbytes for array in arrays) / 1e6:.0f} MB in {len(arrays)} arrays"
    return Figure(f"the loop's wait for a checkpoint of {size}", "a copy by numpy", ours, theirs, aim=1.3)


def _speed(rounds: int, run: TrainingRun, output: Path) -> Figure:
    """The writing of a durable, named checkpoint. Reference: writing and syncing one file of as many bytes."""
    images = StateCopy(run).images
    checkpoints, plain, steps = Checkpoints(output / "speed/checkpoints", keep=1000), output / "plain", count(1)
    checkpoints.folder.parent.mkdir()
    content = np.concatenate([image.data for image in images.values()])
    manifest = manifest_of(run, images, BEGINNING, {}, {}, Losses())

    def save() -> float:
        state = replace(manifest.state, step=next(steps))
        made = manifest.model_copy(update={"state": state})
        seconds = timed(lambda: checkpoints.save(images, made))
        shutil.rmtree(checkpoints.folder)
        return seconds

    def write() -> float:
        seconds = timed(lambda: write_file(plain, content))
        plain.unlink()
        return seconds

    ours, theirs = side_by_side(rounds, save, write)
    return Figure("the speed of writing it", "a plain write with fsync", ours, theirs, "speed", 0.9)


@contextmanager
def _saver(run: TrainingRun, output: Path) -> Iterator[Saver]:
    with ExitStack() as stack:
        lock = stack.enter_context(locked(output))
        bar = stack.enter_context(progress(1, 0))
        log = stack.enter_context(RunLog(output, bar, step=0))
        yield stack.enter_context(Saver(run, lock, log, go_on=False))
