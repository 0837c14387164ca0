"""Measures the cost of the training loop around its program."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import paddle

from benchmarks.measure import Figure, Found, Options, timed
from benchmarks.subjects import DECAY, SUBJECTS
from ppema.checkpoint.lock import locked
from ppema.config import Config
from ppema.data import Batch, Loader
from ppema.training.loop import Trainer
from ppema.training.resuming.resume import Start
from ppema.training.setup import TrainingRun, prepare_training

STEPS = 1000  # timed steps of the loop in one round, and timed runs of the bare program
WARM = 100  # untimed ones before them


def measure(options: Options) -> Found:
    """A whole step of the MLP's run between two log lines, minus a run of its program with a prepared feed."""
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="ppema-benchmark-") as output:
        config = _config(Path(output) / "run", options.rounds)
        with contextlib.closing(prepare_training(config)) as run, paddle.static.scope_guard(run.scope):
            paced = _Paced(run)
            with locked(Path(output) / "run") as lock, contextlib.redirect_stderr(io.StringIO()):
                # The Trainer uses no other attributes of a loader than those of _Paced.
                result = Trainer(replace(run, train_loader=cast(Loader, paced)), Start()).go(lock)
    if result.stopped_by is not None:
        raise KeyboardInterrupt
    # The first round does not count.
    pairs = paced.seconds[1 : options.rounds + 1]
    ours, bare = (tuple(side) for side in zip(*pairs, strict=True))
    figure = Figure("MLP 64-128-10, 64: a step of the loop", "the bare run", ours, bare, "difference", 20e-6)
    return Found([figure])


def _config(output: Path, rounds: int) -> Config:
    """A run as long as all rounds, without logs, evaluations or saves before its last step."""
    end, batches = "100 %", 200
    made = SUBJECTS["mlp"].config({"ema": {"decay": DECAY}})
    made["data"]["train"] |= {"samples": SUBJECTS["mlp"].batch * batches, "shuffle": True}
    epochs = (rounds + 2) * (STEPS + WARM) // batches + 1
    train = {"epochs": epochs, "log_every": end, "eval_every": end, "save_every": end}
    return Config.model_validate({**made, "train": train, "output": str(output)})


class _Paced:
    """The run's training data, which reads the clock between batches. After each round it runs and times the bare program.

    seconds: for each round, those of one step of the loop and of one bare run.
    """

    def __init__(self, run: TrainingRun):
        self._run = run
        self._loader = run.train_loader
        self.label, self.steps_per_epoch = self._loader.label, self._loader.steps_per_epoch
        self.known = self._loader.known
        self.seconds: list[tuple[float, float]] = []
        self._steps = 0
        self._begin = 0.0

    def epoch(self, epoch: int, start: int, stopped: Callable[[], bool]) -> Iterator[Batch]:
        """The batches of the loader's `epoch`."""
        for batch in self._loader.epoch(epoch, start, stopped):
            if self._steps == WARM + STEPS:
                whole = (time.perf_counter() - self._begin) / STEPS
                self.seconds.append((whole, self._bare(batch)))
                self._steps = 0
            if self._steps == WARM:
                self._begin = time.perf_counter()
            self._steps += 1
            yield batch

    def _bare(self, batch: Batch) -> float:
        programs = self._run.programs
        feed, fetch = programs.model.inputs.feed(batch, self._loader), [programs.loss, programs.guard.finite]

        def runs(count: int) -> None:
            for _ in range(count):
                self._run.executor.run(programs.train, feed, fetch)

        runs(WARM)
        return timed(lambda: runs(STEPS)) / STEPS
