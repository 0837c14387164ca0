"""Measures applying and restoring an average."""

from __future__ import annotations

import numpy as np
import paddle

from benchmarks.measure import Figure, Found, Options, side_by_side, timed
from benchmarks.stock import program, trained
from benchmarks.subjects import DECAY, SUBJECTS
from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.ir import backend, scope

NAME = "resnet50"
REPEATS = 20


def measure(options: Options) -> Found:
    """`apply` with its restore. Reference: one copy of as many numbers by numpy."""
    with program() as exe:
        loss = trained(NAME)
        ema = ExponentialMovingAverage(DECAY)
        ema.update()
        exe.run(paddle.static.default_startup_program())
        inputs, labels = SUBJECTS[NAME].arrays()
        exe.run(feed={"input": inputs, "target": labels}, fetch_list=[loss])
        names = [each.name for each in backend().parameters(paddle.static.default_main_program())]
        sources = [scope.get(paddle.static.global_scope(), name) for name in names]
        targets = [np.zeros_like(source) for source in sources]

        def swap() -> None:
            for _ in range(REPEATS):
                with ema.apply(exe):
                    pass

        def copy() -> None:
            for source, target in zip(sources, targets, strict=True):
                np.copyto(target, source)

        ours, theirs = side_by_side(options.rounds, lambda: timed(swap) / REPEATS, lambda: timed(copy))
    size = f"{sum(source.nbytes for source in sources) / 1e6:.0f} MB in {len(sources)} arrays"
    return Found([Figure(f"apply and restore of {size}", "a copy by numpy", ours, theirs, "time", 1e-3)])
