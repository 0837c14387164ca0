"""Measures the start of a run: from the start of the process to the end of its first step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from benchmarks.measure import Figure, Found, Options, side_by_side
from benchmarks.peer import answer

RUNS = {"digits": "configs/digits_cnn.yml", "resnet50": "ResNet-50"}
AIMS = {"digits": 1.2}
# Paddle's messages at import are discarded.
_IMPORT = "import os; os.dup2(os.open(os.devnull, os.O_WRONLY), 2); import paddle; print()"
PARTS = ("importing", "building", "the first step")


def measure(options: Options) -> Found:
    """The start of two runs against a process that only imports paddle, and the parts of that time."""
    parts: dict[str, list[list[float]]] = {name: [] for name in RUNS}
    sides = [_begin(name, parts[name]) for name in RUNS]
    *ours, alone = side_by_side(options.rounds, *sides, lambda: _until_said("-W", "ignore", "-c", _IMPORT)[0])
    figures = []
    for (name, title), seconds in zip(RUNS.items(), ours, strict=True):
        figures.append(Figure(f"{title}: until the first step is done", "import paddle", seconds, alone, aim=AIMS.get(name)))
        for part, taken in zip(PARTS, zip(*parts[name][1:], strict=True), strict=True):
            figures.append(Figure(f"{title}: {part}", "the whole", tuple(taken), seconds, "time"))
    return Found(figures)


def _begin(name: str, parts: list[list[float]]) -> Callable[[], float]:
    def side() -> float:
        seconds, said = _until_said("-m", "benchmarks.first_step", name)
        parts.append(json.loads(said))
        return seconds

    return side


def _until_said(*arguments: str) -> tuple[float, str]:
    """Seconds until `python arguments` prints a line, and the line. Raises TrainingError if it ends without one."""
    begin = time.perf_counter()
    said, end = answer(*arguments)
    return end - begin, said
