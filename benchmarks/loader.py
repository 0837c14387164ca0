"""Measures the cost of reading data in a run: Fashion-MNIST's batches against one repeated batch."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import Figure, Found, Options
from benchmarks.ours import FASHION
from benchmarks.peer import compare
from ppema.config import load_config

OURS = "benchmarks.ours:fashion"


def measure(options: Options) -> Found:
    """The figure; skipped if the data set is not installed."""
    train = load_config(FASHION, []).data.train.model_dump()
    for path in (train["images"], train["labels"]):
        if not Path(path).exists():
            return Found([], [f"loader: there is no {path}: on Debian and Ubuntu, apt-get install dataset-fashion-mnist"])
    real, repeated = compare(options.rounds, (OURS, False), (OURS, True))
    return Found([Figure("Fashion-MNIST CNN: a step on real data", "on one repeated batch", real, repeated, aim=1.05)])
