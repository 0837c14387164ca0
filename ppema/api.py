"""build and evaluate: what one calls from Python beside `train`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import paddle

from ppema.config import DEFAULT_BATCHES, RAW, Config
from ppema.errors import CheckpointError
from ppema.passes.select import BatchNormPolicy
from ppema.programs import Programs
from ppema.run.evaluate import evaluate as measure
from ppema.run.policies import Policies
from ppema.run.setup import checkpoints_of, prepare_evaluation, prepare_training
from ppema.run.weights import is_file, read_weights


def build(config: Config) -> Programs:
    """All programs of `config`: startup, train, and a test program for the raw weights and each average.

    Raises ConfigError, DataError or SetupError.
    """
    with closing(prepare_training(config)) as run:
        return run.programs


def evaluate(
    config: Config,
    weights: str | None = None,
    checkpoint: str = "last",
    *,
    batch_norm: Sequence[BatchNormPolicy] | Literal["all"] | None = None,
    recalibrate_batches: int = DEFAULT_BATCHES,
) -> dict[str, dict[str, float]]:
    """The measures of a checkpoint's weights over `data.eval`, by weights and measure.

    The program evaluated has no averages: an average's values are loaded into the variables themselves.

    weights: "raw", an average's name, None for all that the checkpoint has, or the path of a file of weights (*.safetensors),
    for which no checkpoint is needed; checkpoint: "last", "best", or a path.
    batch_norm: policies for BatchNorm's statistics, under each of which weights are evaluated, as "<weights> (<policy>)";
    "all": those that each has; None: the statistics of the checkpoint. The raw weights have no averaged ones, and are left
    out there. recalibrate_batches: training batches that "recalibrate" measures on, at most.

    Raises ConfigError, DataError, CheckpointError or SetupError.
    """
    if weights is not None and is_file(weights):
        if batch_norm is not None:
            raise CheckpointError(
                f"{weights}: a file of weights is evaluated with the statistics that it has: leave batch_norm out"
            )
        with closing(prepare_evaluation(config)) as run, paddle.static.scope_guard(run.scope):
            run.put(Path(weights), read_weights(Path(weights)))
            return {weights: measure(run.executor, run.model.test, run.model.inputs, run.eval_loader)}
    found = checkpoints_of(config).find(checkpoint)
    wanted = [RAW, *found.manifest.averages] if weights is None else [weights]
    results = {}
    with (
        closing(prepare_evaluation(config)) as run,
        closing(Policies(run, found, recalibrate_batches)) as policies,
        paddle.static.scope_guard(run.scope),
    ):
        for name in wanted:
            for policy in _policies(policies, name, batch_norm):
                policies.load(name, policy)
                label = name if policy is None else f"{name} ({policy})"
                results[label] = measure(run.executor, run.model.test, run.model.inputs, run.eval_loader)
    return results


def _policies(
    policies: Policies, weights: str, asked: Sequence[BatchNormPolicy] | Literal["all"] | None
) -> Sequence[BatchNormPolicy | None]:
    if asked is None:
        return [None]
    there = policies.of(weights)
    return there if asked == "all" else [policy for policy in asked if weights != RAW or policy in there]
