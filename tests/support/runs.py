"""Helpers of the tests of runs: their first steps, their state, and their checkpoints."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import paddle

from ppema.checkpoint.store import Checkpoints
from ppema.log.records import read_metrics
from ppema.training.stepper import Stepper


def steps(run, count):
    """Train on the first `count` batches of the run, and yield after each step."""
    batches = run.train_loader.epoch(0)
    for _ in range(count):
        batch = next(batches, None)
        if batch is None:
            batches = run.train_loader.epoch(1)
            batch = next(batches)
        feed = run.programs.model.inputs.feed(batch, run.train_loader)
        with paddle.static.scope_guard(run.scope):
            run.executor.run(run.programs.train, feed, [run.programs.loss])
        yield


def state_bytes(run) -> dict[str, bytes]:
    """The arrays of a run's state, by variable's name."""
    return {name: array.tobytes() for part in run.read().values() for name, array in part.items()}


def content(folder: Path) -> dict[str, bytes]:
    """The arrays of a checkpoint, and the part of its manifest that depends on neither the folder nor the clock."""
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = {key: value for key, value in manifest.items() if key not in ("config", "checksum")}
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")} | {"manifest": json.dumps(kept).encode()}


def last(output: Path) -> Path:
    return Checkpoints(output / "checkpoints").find("last").path


def losses(output: Path):
    return [(r["step"], r["loss"]) for r in read_metrics(output) if r["kind"] == "train"]


def stopped_after(monkeypatch, runs):
    """SIGTERM arrives while the train program runs for the `runs`-th time."""
    run, count = Stepper.run, [0]

    def stopping(self, batch, state):
        count[0] += 1
        if count[0] == runs:
            os.kill(os.getpid(), signal.SIGTERM)
        return run(self, batch, state)

    monkeypatch.setattr(Stepper, "run", stopping)
