"""Measures training steps of several ranks, beside one process with one thread and with two."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from benchmarks import ours
from benchmarks.job import Job, Shape, started
from benchmarks.measure import Figure, Found, Options, side_by_side
from benchmarks.parallel_side import CASES, Case
from benchmarks.peer import MOST_CALLS, ROUND_SECONDS
from ppema.training.parallel.traffic import traffic_of

STEP, SUMS = "benchmarks.parallel_side:step", "benchmarks.parallel_side:sums"
ONE = "one process, 1 thread"
BUCKETS = {"1 MiB": 1 << 20, "4 MiB": 4 << 20}
OF_BUCKETS = "resnet18-32"  # the case whose sums are measured in other buckets too


def measure(options: Options) -> Found:
    """The figures of each of CASES, and of some sizes of buckets."""
    figures = [figure for name, case in CASES.items() for figure in _of(name, case, options.rounds)]
    return Found([*figures, *_of_buckets(options.rounds)])


def _of(name: str, case: Case, rounds: int) -> list[Figure]:
    """The speeds in samples per second beside one process with one thread, and the parts of a step of two ranks."""
    two = Shape(2)
    sides = {
        "one": partial(started, STEP, Shape(), name, 1),
        "ranks": partial(started, STEP, two, name, 2),
        "threads": partial(started, STEP, Shape(threads=2), name, 2),
        "apart": partial(started, STEP, Shape(2, together=False), name, 1),
        "sums": partial(started, SUMS, two, name, 2),
        **({"four": partial(started, STEP, Shape(4), name, 4)} if case.most >= 4 else {}),
    }
    seconds = dict(zip(sides, _compare(rounds, *sides.values()), strict=True))
    one = _per_sample(seconds["one"], case.samples)

    def speed(what: str, side: str, ranks: int, aim: float | None = None) -> Figure:
        return Figure(f"{case.title}: {what}", ONE, _per_sample(seconds[side], ranks * case.samples), one, "speed", aim)

    step, apart = seconds["ranks"], seconds["apart"]
    return [
        speed("samples/s of 2 ranks", "ranks", 2, case.aim),
        speed("samples/s of one process, 2 threads", "threads", 2),
        *([speed("samples/s of 4 ranks", "four", 4)] if "four" in seconds else []),
        Figure(f"{case.title}: a step of 2 ranks", "2 processes, each for itself", step, apart),
        Figure(f"{case.title}: the sums of a step alone, {_size(case)}", "a step of 2 ranks", seconds["sums"], step, "time"),
    ]


def _of_buckets(rounds: int) -> list[Figure]:
    """The sums of a step in smaller buckets."""
    side = partial(started, SUMS, Shape(2), OF_BUCKETS, 2)
    *smaller, whole = _compare(rounds, *(partial(side, each) for each in BUCKETS.values()), side)
    return [
        Figure(f"{CASES[OF_BUCKETS].title}: the sums in buckets of {name}", "of the default size", seconds, whole)
        for name, seconds in zip(BUCKETS, smaller, strict=True)
    ]


def _size(case: Case) -> str:
    """The bytes that each rank gives to the sums of a step, in words."""
    with ours.started(case.config(2)) as (run, _):
        reduction = traffic_of(run).reduction
    assert reduction is not None, "several ranks can train every case"
    return f"{reduction.size / 1e6:.3g} MB"


def _per_sample(seconds: tuple[float, ...], samples: int) -> tuple[float, ...]:
    return tuple(each / samples for each in seconds)


def _compare(rounds: int, *sides: Callable[[], AbstractContextManager[Job]]) -> list[tuple[float, ...]]:
    """For each side, the seconds of one call of its work, by round [rounds]. sides: each starts a job.

    The sides take turns, and the processes of the others rest meanwhile. All make the same number of calls per round, so that
    the first takes ROUND_SECONDS. Raises TrainingError.
    """
    with ExitStack() as stack:
        jobs = [stack.enter_context(side()) for side in sides]
        for job in jobs:
            job.seconds(1)
        count = min(max(math.ceil(ROUND_SECONDS / jobs[0].seconds(1)), 2), MOST_CALLS)
        return side_by_side(rounds, *map(_turn(count), jobs))


def _turn(count: int) -> Callable[[Job], Callable[[], float]]:
    return lambda job: lambda: job.seconds(count)
