"""The origin of exported weights and their figures, for the description of a model."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from ppema.averaging.health import window
from ppema.checkpoint.checkpoint import Checkpoint
from ppema.checkpoint.manifest import Manifest
from ppema.config import RAW, AverageSpec, Config
from ppema.config.horizon import Horizon
from ppema.deploy.description import DescribedFigures, DescribedWeights
from ppema.errors import PpemaError, one_line
from ppema.evaluation.evaluate import numbers
from ppema.evaluation.stored import evaluate_stored
from ppema.log.records import finite, measures_of, read_metrics
from ppema.programs.averages import rule_of
from ppema.weights.stored_weights import StoredWeights


def described_weights(found: StoredWeights) -> DescribedWeights:
    """The description of the weights `found`."""
    schedule, length = None, None
    if found.checkpoint is not None and found.name != RAW:
        schedule = _section(found.checkpoint.manifest, found.name)
        length = None if schedule is None else _window(found.checkpoint.manifest, found.name)
    return DescribedWeights(name=found.name, what=found.what, step=found.step, schedule=schedule, window=length)


def figures(config: Config, found: StoredWeights, *, label: str, samples: int | None, why: str) -> DescribedFigures:
    """The figures of the raw weights and of `found` on the evaluation data.

    Those that a checkpoint keeps of its own step are taken, the others are measured. label, samples, why: of the data, as in
    `ready.Samples`; without data, figures that would have to be measured are missing.
    """
    known = {} if found.checkpoint is None else _kept(found.checkpoint)
    wanted = [str(found.source)] if found.checkpoint is None else list(dict.fromkeys([RAW, found.name]))
    where = None if found.checkpoint is None else found.checkpoint.path
    for name in [name for name in wanted if name not in known]:
        if samples is None:
            return DescribedFigures(label=label, samples=None, weights=known, missing=f"not measured: {why}")
        try:
            measured = evaluate_stored(config, name, where)[name]
        except PpemaError as error:
            return DescribedFigures(label=label, samples=samples, weights=known, missing=f"not measured: {one_line(error)}")
        known[found.name if found.checkpoint is None else name] = finite(numbers(measured))
    return DescribedFigures(label=label, samples=samples, weights=known)


def known_figures(found: StoredWeights, why: str) -> DescribedFigures:
    """The figures that the checkpoint of `found` keeps of its own step. why: the reason why others are not measured."""
    known = {} if found.checkpoint is None else _kept(found.checkpoint)
    missing = "" if {RAW, found.name} <= known.keys() else f"not measured: {why}"
    return DescribedFigures(label="data.eval", samples=None, weights=known, missing=missing)


def _kept(checkpoint: Checkpoint) -> dict[str, dict[str, float | None]]:
    """The figures in the manifest of `checkpoint` that its run's records have of the same step, by weights.

    A manifest keeps the last evaluation, which may be one of an earlier step.
    """
    kept, found = checkpoint.manifest.metrics, dict[str, dict[str, float | None]]()
    try:
        records = read_metrics(checkpoint.path.parent.parent)
    except PpemaError:
        return {}
    for record in records:
        if record["kind"] == "eval" and record["step"] == checkpoint.step:
            figures = {name: record[name] for name in measures_of(record)}
            if kept.get(record["weights"]) == figures:
                found[record["weights"]] = figures
    return found


def _section(manifest: Manifest, average: str) -> dict[str, Any] | None:
    """The keys of the average's section that differ from their defaults; None if the manifest has no such section."""
    averages = manifest.config.get("averages")
    spec = averages.get(average) if isinstance(averages, dict) else None
    try:
        return AverageSpec.model_validate(spec).model_dump(mode="json", exclude_defaults=True)
    except (ValidationError, PpemaError):
        return None


def _window(manifest: Manifest, average: str) -> float | None:
    """The effective window of `average` in steps; None before it begins, and if the length of an epoch is not known.

    It follows from the position of a run after its first epoch.
    """
    try:
        config = Config.model_validate(manifest.config)
    except PpemaError:
        return None
    state, saved, train = manifest.state, manifest.averages[average], config.train
    if not state.epoch:
        return None
    steps = (state.step - state.batch // train.accumulate) // state.epoch
    horizon = Horizon(steps, config.data.train.batch_size * train.accumulate, train.epochs, train.steps)
    try:
        rule = rule_of(config.averages[average], horizon)
    except (PpemaError, ValueError):
        return None
    if saved.steps < rule.first:
        return None
    found = window(rule.update_every, saved.total_weight, rule.decay_at(saved.steps))
    return finite(found)
