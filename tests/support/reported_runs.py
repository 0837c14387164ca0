"""Folders of runs and sweeps, written by hand: no training."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ppema.config import Config, load_config, to_yaml
from ppema.experiments.sweeps.sweep_folder import (
    SWEEP,
    RunResult,
    SweepResults,
    TrialResult,
    best_trial,
    trial_folder,
    write_results,
)

_CONFIG = """
model: {name: mlp, args: {in_features: 64, num_classes: 10}}
data:
  train: {name: digits, split: train, batch_size: 32}
  eval: {name: digits, split: test, batch_size: 256}
optimizer: Momentum
lr: 0.1
averages: {ema: {decay: 0.99}, slow: {decay: 0.999}}
train: {epochs: 100, monitor: ema/accuracy}
"""
STEPS_PER_EPOCH = 46


def written_config(file: Path, *overrides: str) -> Config:
    """A small config at `file`, loaded with `overrides`."""
    file.write_text(_CONFIG)
    return load_config(file, overrides)


def evaluations(count: int, end: float = 0.99) -> list[dict[str, Any]]:
    """`count` evaluations of raw, ema and slow: accuracies that rise to `end`, those of raw with jumps."""
    found = []
    for epoch in range(1, count + 1):
        for index, weights in enumerate(("raw", "ema", "slow")):
            value = end - 0.6 * math.exp(-epoch / (3 + 2 * index)) - (0.02 * abs(math.sin(7.0 * epoch)) if index == 0 else 0)
            at = {"kind": "eval", "step": STEPS_PER_EPOCH * epoch, "epoch": float(epoch), "weights": weights}
            found.append({**at, "loss": 2 * (1 - value), "accuracy": value})
    return found


def intervals(count: int, per_epoch: int = 2) -> list[dict[str, Any]]:
    """`count` records of training."""
    reading = {"window": 100.0, "distance": 0.1, "stalled": 0.0, "groups": {}}
    return [
        {
            "kind": "train",
            "step": STEPS_PER_EPOCH * index // per_epoch,
            "epoch": index / per_epoch,
            "loss": 2.0 / index,
            "lr": 0.1,
            "skipped": 0,
            "gradient_norm": 1.0 + 1 / index,
            "decay": {"ema": 0.99, "slow": 0.999},
            "health": {"ema": reading, "slow": {**reading, "window": 1000.0 - 900 / index}},
            "samples_per_second": 900.0 + index,
            "data_wait": 0.01,
        }
        for index in range(1, count + 1)
    ]


def written_run(folder: Path, config: Config, records: Iterable[Mapping[str, Any]], log: Iterable[str] = ()) -> Path:
    """The folder of a run that ended, with these records and lines of log.txt."""
    folder.mkdir(parents=True)
    (folder / "config.yml").write_text(to_yaml(config))
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in records))
    (folder / "log.txt").write_text("".join(f"{line}\n" for line in log))
    return folder


def written_sweep(folder: Path, config: Config, trials: int, seeds: int = 2, count: int = 20) -> SweepResults:
    """The folder of a sweep over the learning rate, a decay and an optimizer, with complete, pruned and failed trials.

    count: the evaluations of each complete run.
    """
    folder.mkdir(parents=True)
    (folder / SWEEP).write_text(to_yaml(config))
    made = []
    for number in range(trials):
        rate = 10 ** (-3 + 2 * ((number * 0.618) % 1))
        params = {"lr.args.learning_rate": rate, "averages.ema.decay": (0.9, 0.99, 0.999)[number % 3]}
        params["optimizer.name"] = ("Momentum", "Adam")[number % 2]
        state = "failed" if number % 7 == 6 else "pruned" if number % 5 == 4 else "complete"
        runs = []
        for seed in range(seeds):
            end = 0.985 - 0.02 * abs(math.log10(rate) + 2) - 0.002 * (number % 3) - 0.001 * seed
            records = evaluations(count if state == "complete" else count // 2, end)
            run = trial_folder(folder, number, seed)
            written_run(run, config, records, ["warning: the average 'slow' has a window of 1000 steps"])
            value = None if state == "failed" else records[-2]["accuracy"]
            runs.append(RunResult(seed=seed, output=str(run), value=value, step=records[-1]["step"], state=state))
        values = [each.value for each in runs if each.value is not None] if state == "complete" else []
        made.append(
            TrialResult(
                number=number,
                state=state,
                params=params,
                value=statistics.fmean(values) if values else None,
                spread=statistics.stdev(values) if len(values) > 1 else None,
                runs=tuple(runs),
                error="exit code 1: the loss is not finite" if state == "failed" else None,
            )
        )
    over = {
        "lr.args.learning_rate": "log:1e-3..1e-1",
        "averages.ema.decay": "0.9,0.99,0.999",
        "optimizer.name": "Momentum,Adam",
    }
    results = SweepResults(
        output=str(folder),
        config="configs/digits.yml",
        method="random",
        monitor="ema/accuracy",
        mode="max",
        over=over,
        seeds=tuple(range(seeds)),
        trials=tuple(made),
        best=best_trial(made, "max"),
    )
    write_results(results)
    return results
