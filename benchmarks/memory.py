"""Measures the peak memory of training steps beside PyTorch's, eager and compiled, in new processes."""

from __future__ import annotations

import json

from benchmarks.measure import Figure, Found, Options
from benchmarks.peer import NO_TORCH, answer, has_torch
from benchmarks.subjects import SUBJECTS

MODELS = ("resnet50", "encoder")
ROUNDS = 3  # memory varies less than time
OURS, TORCH = ("benchmarks.ours:step", 1), ("benchmarks.torch_side:step", "eager")
KINDS = {
    "resident": "peak memory of the process beyond its imports",
    "live": "peak of the library's own buffers",
}
AIMS = {"resident": 1.0, "live": None}


def measure(options: Options) -> Found:
    """Steps with Momentum and one average, on the same batch. options: `rounds` has no effect, as memory hardly varies."""
    if not has_torch():
        return Found([], [NO_TORCH])
    return Found([figure for name in MODELS for figure in _of(name)])


def _of(name: str) -> list[Figure]:
    rounds = [[_bytes(builder, name, form) for builder, form in (OURS, TORCH)] for _ in range(ROUNDS)]
    figures = []
    for kind, what in KINDS.items():
        ours, theirs = (tuple(side[kind] for side in sides) for sides in zip(*rounds, strict=True))
        figures.append(Figure(f"{SUBJECTS[name].title}: {what}", "torch with foreach EMA", ours, theirs, "memory", AIMS[kind]))
    return figures


def _bytes(builder: str, *arguments: object) -> dict[str, float]:
    """By kind. Raises TrainingError if the process ends without an answer."""
    return json.loads(answer("-m", "benchmarks.footprint", builder, json.dumps(arguments))[0])
