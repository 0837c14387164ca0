"""The measures of stored weights: those of a checkpoint, or of a file of weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Literal

import paddle

from ppema.config import RAW, Config
from ppema.distributed.world import ALONE, World
from ppema.errors import CheckpointError, Naming, PpemaError
from ppema.evaluation.evaluate import Watch, unwatched
from ppema.evaluation.policies import Policies
from ppema.evaluation.prepared import EvaluationRun, prepare_evaluation
from ppema.evaluation.samples.recorder import SampleRecorder
from ppema.evaluation.samples.taken import TakenSamples
from ppema.metrics import Figure
from ppema.passes.select import POLICIES, BatchNormPolicy
from ppema.programs.same_work import check_same_work
from ppema.weights.file import is_file
from ppema.weights.stored_weights import StoredWeights, weights_facts


def evaluate_stored(
    config: Config,
    weights: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    *,
    batch_norm: Sequence[BatchNormPolicy] | Literal["all"] | None = None,
    recalibrate_batches: int | None = None,
    samples: TakenSamples | None = None,
    say: Callable[[str], None] = lambda line: None,
    watch: Watch = unwatched,
    world: World = ALONE,
) -> dict[str, dict[str, Figure]]:
    """`ppema.api.evaluate`, once paddle is loaded. Its other arguments, result and errors are the same.

    samples: receives the statistics of each sample, once for each evaluated set of weights.
    say: receives a line that describes the weights: the checkpoint and its step, or what a file of weights says of itself.
    watch: receives the progress of each evaluation. world: its ranks share the batches, and all get the result; rank 0 alone
    reads and writes the folder of the run, and takes samples.
    """
    weights, checkpoint = (None if each is None else os.fspath(each) for each in (weights, checkpoint))
    _check(weights, checkpoint, batch_norm, recalibrate_batches)
    arguments = weights_facts(weights, checkpoint) | {"batch_norm": batch_norm}
    arguments |= {"recalibrate_batches": recalibrate_batches, "keep_samples": samples is not None and samples.wanted}
    check_same_work(world, "the evaluation", config, arguments)
    found = StoredWeights.find(config, weights, checkpoint, world)
    samples = samples if samples is not None and samples.wanted else None
    if samples is not None:
        samples.check(found.step, policies=batch_norm is not None)
    config = found.as_trained(config, world)
    prepared = prepare_evaluation(config, samples=samples is not None, world=world)
    with closing(prepared) as run, paddle.static.scope_guard(run.scope):
        measured = partial(_measured, run, step=found.step, samples=samples, watch=watch)
        if found.checkpoint is None:
            run.put(found.source, lambda: found.arrays)
            say(found.what)
            return {str(weights): measured(str(weights))}
        results, averages = {}, found.checkpoint.manifest.averages
        with closing(Policies(run, found.checkpoint, recalibrate_batches)) as policies:
            for name in [RAW, *averages] if weights is None else [weights]:
                for policy in policies.chosen(name, batch_norm, skip=weights is None):
                    label = name if policy is None else f"{name} ({policy})"
                    if policy == "recalibrate":
                        watch(f"recalibrating {name}", 0, None)
                    policies.load(name, policy)
                    results[label] = measured(label)
    if not results:
        raise CheckpointError(f"{found.source}: none of its weights have averaged statistics: choose copy or recalibrate")
    say(f"checkpoint: {found.source}, step {found.step}")
    return results


def _measured(
    run: EvaluationRun, label: str, *, step: int | None, samples: TakenSamples | None, watch: Watch
) -> dict[str, Figure]:
    shown = partial(watch, f"evaluating {label}")
    if samples is None:
        return run.evaluate(shown)
    fields, total = run.eval_loader.fields, run.eval_loader.samples
    recorder = SampleRecorder(run.config, run.model.test, fields, total, samples.most, run.world)
    figures = run.evaluate(shown, recorder.add)
    recorder.gather()
    if run.world.first:
        samples.take(recorder.samples(label, step, figures))
    return figures


def _check(
    weights: str | None, checkpoint: str | None, batch_norm: Sequence[str] | str | None, recalibrate_batches: int | None
) -> None:
    if weights is not None and is_file(weights) and (checkpoint, batch_norm, recalibrate_batches) != (None, None, None):
        raise PpemaError(f"{weights}: a file of weights is evaluated as it is: leave out checkpoint and BatchNorm's policies")
    if recalibrate_batches is not None and not (batch_norm == "all" or "recalibrate" in (batch_norm or ())):
        raise PpemaError(Naming("{recalibrate_batches} requires {batch_norm}: recalibrate, or all"))
    if recalibrate_batches is not None and recalibrate_batches < 1:
        raise PpemaError(Naming("{recalibrate_batches}: expected an integer >= 1, got {}", recalibrate_batches))
    if batch_norm not in (None, "all"):
        unknown = [batch_norm] if isinstance(batch_norm, str) else [each for each in batch_norm if each not in POLICIES]
        if unknown or not batch_norm:
            got = repr(unknown[0]) if unknown else "none"
            raise PpemaError(Naming("{batch_norm}: expected all, or some of {}, got {}", ", ".join(POLICIES), got))
