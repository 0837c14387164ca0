"""build and evaluate: what one calls from Python beside `train`."""

from __future__ import annotations

from contextlib import closing

import paddle

from ppema.config import RAW, Config
from ppema.programs import Programs
from ppema.run.evaluate import evaluate as measure
from ppema.run.setup import checkpoints_of, prepare_evaluation, prepare_training


def build(config: Config) -> Programs:
    """All programs of `config`: startup, train, and a test program for the raw weights and each average.

    Raises ConfigError, DataError or SetupError.
    """
    with closing(prepare_training(config)) as run:
        return run.programs


def evaluate(config: Config, weights: str | None = None, checkpoint: str = "last") -> dict[str, dict[str, float]]:
    """The measures of a checkpoint's weights over `data.eval`, by weights and measure.

    The program evaluated has no averages: an average's values are loaded into the variables themselves.

    weights: "raw", an average's name, or None for all that the checkpoint has; checkpoint: "last", "best", or a path.
    Raises ConfigError, DataError, CheckpointError or SetupError.
    """
    found = checkpoints_of(config).find(checkpoint)
    wanted = [RAW, *found.manifest.averages] if weights is None else [weights]
    results = {}
    with closing(prepare_evaluation(config)) as run, paddle.static.scope_guard(run.scope):
        for name in wanted:
            run.load(found, name)
            results[name] = measure(run.executor, run.model.test, run.model.inputs, run.eval_loader)
    return results
