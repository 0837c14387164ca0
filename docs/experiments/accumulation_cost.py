"""What gradient accumulation costs: the table of docs/speed.md.

    python docs/experiments/accumulation_cost.py

The time of a micro-batch in the mean over a step of 4, over that of a plain step of the same batch. Both kinds of runs take
turns in one process, with an average of all weights; the result is the median of the ratios, with quartiles. A minute on 2
cores.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppema.environment import choose_threads, load_paddle

EVERY = 4
MODELS = ("mlp", "resnet18-32")
ROUNDS = {"mlp": 400, "resnet18-32": 20}


def ratios(model: str, rounds: int, every: int = EVERY) -> np.ndarray:
    """Ratios of the times of micro-batches and plain steps of the subject `model` in `rounds` rounds of `every` runs."""
    from benchmarks.ours import started
    from benchmarks.subjects import DECAY, SUBJECTS
    from ppema.config import Config

    with ExitStack() as stack:
        works = []
        for count in (1, every):
            config = SUBJECTS[model].config({"ema": {"decay": DECAY}})
            config["train"]["accumulate"] = count
            if count > 1:
                config["data"]["train"]["samples"] *= count
            run, work = stack.enter_context(started(Config.model_validate(config)))
            works.append((work, next(iter(run.train_loader.epoch(0)))))
        times = np.array([[_seconds(*each, every) for each in works] for _ in range(rounds + rounds // 4)])
    # The first rounds allocate memory.
    return (times[:, 1] / times[:, 0])[rounds // 4 :]


def _seconds(work, batch, runs: int) -> float:
    start = time.perf_counter()
    for _ in range(runs):
        work(batch)
    return time.perf_counter() - start


def main() -> None:
    choose_threads(2)
    load_paddle()
    for model in MODELS:
        low, middle, high = np.quantile(ratios(model, ROUNDS[model]), [0.25, 0.5, 0.75])
        print(f"{model:<12} {middle:.3f} ({low:.3f} to {high:.3f})", flush=True)


if __name__ == "__main__":
    main()
