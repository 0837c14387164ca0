"""What tests of a config's programs share: the config, and the first steps of its run."""

from __future__ import annotations

from pathlib import Path

import paddle

from ppema.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"


def config(*overrides: str, base: str = "digits_cnn.yml"):
    return load_config(CONFIGS / base, overrides)


def steps(run, count):
    """The first batches of the run, one optimizer step each; yields after each."""
    batches = run.train_loader.epoch(0)
    for _ in range(count):
        batch = next(batches, None)
        if batch is None:
            batches = run.train_loader.epoch(1)
            batch = next(batches)
        feed = run.programs.model.inputs.feed(batch, run.train_loader)
        with paddle.static.scope_guard(run.scope):
            run.executor.run(run.programs.train, feed, [run.programs.loss])
        yield
