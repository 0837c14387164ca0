"""Measures what one average adds to a training step, in one process: two processes of one program differ by more."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import paddle

from benchmarks.measure import Figure, Found, Options, side_by_side, timed
from benchmarks.ours import started
from benchmarks.subjects import DECAY, SUBJECTS
from ppema.config import Config

# Steps in one turn, and the aim in percent. Turns are short, so that a change of the machine's speed meets both sides.
TURNS = {"mlp": (200, 3.0), "resnet18-32": (3, 2.0)}
MORE = 4  # turns of a side in one round of the other commands


def measure(options: Options) -> Found:
    """A step with Momentum and one average, beside the same without the average, in turn."""
    return Found([_of(name, options.rounds * MORE) for name in TURNS])


def _of(name: str, rounds: int) -> Figure:
    steps, aim = TURNS[name]
    with ExitStack() as stack:
        sides = []
        for averages in ({"ema": {"decay": DECAY}}, {}):
            run, work = stack.enter_context(started(Config.model_validate(SUBJECTS[name].config(averages))))
            sides.append((run.scope, partial(work, next(iter(run.train_loader.epoch(0))))))

        def seconds(side: int) -> float:
            scope, work = sides[side]
            with paddle.static.scope_guard(scope):
                work()  # caches hold the other side's weights
                return timed(lambda: [work() for _ in range(steps)]) / steps

        ours, without = side_by_side(rounds, partial(seconds, 0), partial(seconds, 1))
    return Figure(f"{SUBJECTS[name].title}: what EMA adds", "a step without", ours, without, "share", aim)
