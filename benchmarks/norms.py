"""Measures what the norms of logged steps cost in the mean over all steps."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count

import paddle

from benchmarks.measure import Figure, Found, Options, side_by_side, timed
from benchmarks.subjects import DECAY, SUBJECTS
from ppema.checkpoint.begun import Begun
from ppema.checkpoint.state import BEGINNING
from ppema.config import Config
from ppema.data import Batch
from ppema.training.setup import prepare_training
from ppema.training.stepper import Stepper

EVERY = 50  # steps in a log interval, the default
WARM = 2  # untimed intervals before the timed ones
INTERVALS = {"mlp": 40, "resnet18-32": 1}  # in one round


class _Side:
    """A run with or without `train.log_norms`, in its own scope."""

    def __init__(self, stack: ExitStack, name: str, *, norms: bool):
        config = SUBJECTS[name].config({"ema": {"decay": DECAY}})
        config["train"]["log_norms"] = norms
        run = prepare_training(Config.model_validate(config))
        stack.callback(run.close)
        self._scope, self._stepper = run.scope, Stepper(run, Begun())
        self._batch: Batch = next(iter(run.train_loader.epoch(0)))
        self._step = count()
        if norms:
            self._stepper.measure_when(lambda state: (state.step + 1) % EVERY == 0)

    def run(self, steps: int) -> None:
        """Take `steps` steps on one batch."""
        with paddle.static.scope_guard(self._scope):
            for _ in range(steps):
                self._stepper.run(self._batch, replace(BEGINNING, step=next(self._step)))

    def seconds(self, intervals: int) -> float:
        """The mean time of a step in some intervals."""
        return timed(lambda: self.run(intervals * EVERY)) / (intervals * EVERY)


def measure(options: Options) -> Found:
    """A step of intervals of 50 steps, of which the last measures its norms, beside a step of a run without the key."""
    return Found([_of(name, options.rounds) for name in INTERVALS])


def _of(name: str, rounds: int) -> Figure:
    intervals = INTERVALS[name]
    with ExitStack() as stack:
        sides = [_Side(stack, name, norms=norms) for norms in (True, False)]
        for side in sides:
            side.run(WARM * EVERY)
        ours, without = side_by_side(rounds, *(partial(side.seconds, intervals) for side in sides))
    what = f"{SUBJECTS[name].title}: what log_norms adds, log_every: {EVERY} steps"
    return Figure(what, "a step without", ours, without, "share", 1.0)
