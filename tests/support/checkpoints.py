"""Helpers of the tests of checkpoints: the state of an imaginary run, and folders that hold it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ppema.checkpoint.best import Best
from ppema.checkpoint.folder import read_manifest, read_part, write_folder
from ppema.checkpoint.manifest import Manifest, SavedAverage
from ppema.checkpoint.state import Losses, State
from ppema.checkpoint.store import Checkpoints
from ppema.checkpoint.tensors import Image

RAW = {"w": np.array([[1.5, -2.0]], "float32"), "mean": np.array(3.0, "float32")}
AVERAGE = {"w/ema": np.array([[0.5, 0.25]], "float32"), "ema/count": np.array(7), "ema/weight": np.array(0.125)}
SAVED = SavedAverage(shadow_of={"w": "w/ema"}, count="ema/count", weight="ema/weight", steps=7, total_weight=0.125)
MANIFEST = Manifest(
    ppema="0.1.0",
    paddle="3.3.1",
    threads=2,
    state=State(step=5, epoch=1, batch=2, samples=40, skipped=0),
    random=123,
    lr={"last_epoch": 5, "last_lr": 0.1},
    best={"ema/accuracy": Best("ema/accuracy", 0.5, 4)},
    metrics={"raw": {"loss": None, "accuracy": 0.25}},
    interval=Losses(steps=2, loss=0.75),
    averages={"ema": SAVED},
    structured={"0.weight": "w"},
    config={"seed": 0},
)
PARTS = {"raw": RAW, "average-ema": AVERAGE}


def written_again(kind, folder, parts=(), **changes):
    """Write parts of a folder and fields of its manifest again, with valid checksums: a fault of a writer, not of a disk."""
    manifest = read_manifest(kind, folder, "folder")
    arrays = {Path(name).stem: read_part(folder, manifest, Path(name).stem) for name in manifest.files}
    write_folder(folder, images({**arrays, **dict(parts)}), manifest.model_copy(update=changes), "folder")


def checkpoints_in(folder):
    """The checkpoints of a run in the new folder `folder`/run, with `keep=2`."""
    (folder / "run").mkdir()
    return Checkpoints(folder / "run/checkpoints", keep=2)


def names(folder):
    return sorted(os.listdir(folder))


@contextmanager
def without_privileges():
    """Inside, permissions of files also hold for root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def images(parts=None):
    return {part: Image.of(arrays) for part, arrays in (PARTS if parts is None else parts).items()}


def save(checkpoints, step, *best, parts=None, manifest=MANIFEST):
    """Save a checkpoint of `step`, whose raw weights are those of PARTS times the step."""
    given = {**PARTS, "raw": {name: array * step for name, array in RAW.items()}} if parts is None else parts
    state = replace(manifest.state, step=step)
    return checkpoints.save(images(given), manifest.model_copy(update={"state": state}), best)
