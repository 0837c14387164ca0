"""Resumes a run from a checkpoint: compares its config, loads its state, and writes the manifest of a checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import paddle

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.best import Best, undirected
from ppema.checkpoint.checkpoint import Checkpoint, with_state
from ppema.checkpoint.manifest import Manifest, Owed, SavedAverage, SavedField
from ppema.checkpoint.state import BEGINNING, Losses, State, step_seed
from ppema.checkpoint.store import Checkpoints, pointer_of
from ppema.checkpoint.tensors import Image
from ppema.checkpoint.waiting import Waiting
from ppema.config.differing import differences
from ppema.config.horizon import Horizon
from ppema.environment import mkl_settings, threads_in_use
from ppema.errors import CheckpointError, ConfigError, Remedy, one_line, printable
from ppema.optimizers.optimizer import lr_state, rehearse, set_lr_state
from ppema.optimizers.schedules import ReduceOnPlateau, Warmup, is_former_warmup
from ppema.training.checks.statecheck import StateCheck
from ppema.training.early_stopping import EarlyStopping
from ppema.training.resuming.compared import current_form, harmless, plain
from ppema.training.resuming.extension import Extension, extension
from ppema.training.resuming.refusals import (
    anew,
    check_directions,
    check_in_place,
    check_new,
    check_not_lost,
    check_unmixed,
    newest_intact,
    with_its_weights,
)
from ppema.training.setup import TrainingRun
from ppema.version import VERSION

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Start:
    """The start of a run: its position, the best by monitored metric, the last evaluation, and the log interval so far.

    begun: the micro-batches done of the next step; waiting: the state of the early stop; owed: what the process before left
    undone after the last step; said: lines for people about this start; origin: the checkpoint of another run from which it
    continues; keep: whether to set aside snapshots and records of later steps. If not, they are deleted: a killed process of
    this run wrote them.
    """

    state: State = BEGINNING
    begun: Begun = field(default_factory=Begun)
    best: dict[str, Best] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=dict)
    interval: Losses = field(default_factory=Losses)
    waiting: Waiting | None = None
    owed: Owed | None = None
    said: tuple[str, ...] = ()
    origin: Path | None = None
    keep: bool = True


def open_run(run: TrainingRun, checkpoints: Checkpoints, resume: str, *, extend: bool = False) -> Start:
    """Start a new run, or load the checkpoint of `resume` into the scope. resume, extend: as for `train`.

    Raises CheckpointError for a checkpoint that is missing, damaged, or of another config or model, and if the folder has
    another run. Raises ConfigError for a new run whose `train.mode` is missing. Nothing is changed in these cases.
    """
    if resume == "never":
        check_new(checkpoints)
        check_directions(run.config)
        checkpoints.clear()
        return Start()
    skipped: list[str] = []
    if resume == "auto":
        checkpoint, skipped = newest_intact(checkpoints, with_state)
        if checkpoint is None:
            check_not_lost(checkpoints, run.horizon.steps(run.config.train.save_every))
            check_directions(run.config)
            checkpoints.clear()
            return Start()
    else:
        checkpoint = checkpoints.find(resume, with_state)
    # A link in the run's own folder counts as the run's own, wherever it leads.
    ours = checkpoint.path.parent.resolve() == checkpoints.folder.resolve()
    if ours:
        check_in_place(checkpoint)
    else:
        check_unmixed(checkpoints, checkpoint)
    extended = _check_config(run, checkpoint, ours=ours, extend=extend)
    start = _load(run, checkpoint, extended)
    said = [f"skipped {each}" for each in skipped]
    if checkpoint.path.is_symlink():
        said.append(f"{checkpoint.path} is a link to {printable(os.readlink(checkpoint.path))}")
    if ours:
        aside = checkpoints.go_on_from(checkpoint, best_pointers(run, start.best))
        said += [f"set aside as {path}" for path in aside]
    else:
        checkpoints.clear()
        said.append(f"going on from {checkpoint.path}, of another run")
    if extended is not None:
        said += extended.lines(start.state)
    if extended is not None and extended.of_lr:
        said.append(
            f"extended: the learning rate goes on at {run.programs.lr():g}; it was {checkpoint.manifest.lr['last_lr']:g}"
        )
    stopping = EarlyStopping(run.config, run.horizon, start.state, checkpoint.manifest.early_stop)
    said += stopping.going_on(start.state, extend=extend)
    train = run.config.train
    for metric in undirected(train.watched, train.mode):
        said.append(f"warning: the largest {metric!r} counts as best: train.mode is null; a new run must say max or min")
    said += _other_bits(run, checkpoint.manifest)
    killed = resume == "auto" and not skipped
    start = replace(start, waiting=stopping.waiting)
    return replace(start, said=tuple(said), origin=None if ours else checkpoint.path.absolute(), keep=not killed)


def _other_bits(run: TrainingRun, manifest: Manifest) -> list[str]:
    """A warning if the run may not end with the bytes of an uninterrupted one: other threads, Paddle or kernels."""

    def used(*both: bool) -> list[str]:
        return ["used" if each else "not used" for each in both]

    found = {
        "threads": (manifest.threads, threads_in_use()),
        "paddle": (manifest.paddle, paddle.__version__),
        "oneDNN": used(manifest.onednn, run.programs.on_onednn),
        "the choice of MKL's code": (manifest.mkl or "its own", mkl_settings() or "its own"),
        "softmax, GELU or LayerNorm in C++": used(manifest.own_layers, run.programs.own_layers),
    }
    differing = [f"{name} was {before}, now {now}" for name, (before, now) in found.items() if before != now]
    return [f"warning: {'; '.join(differing)}: the last bits of the weights may differ from now on"] if differing else []


def _check_config(run: TrainingRun, checkpoint: Checkpoint, *, ours: bool, extend: bool) -> Extension | None:
    """The Extension if the run is longer than the checkpoint's, else None.

    Raises CheckpointError if another key differs that matters, if the run is shorter, if lengths in percent change without
    `extend`, and if an earlier version's schedule had other rates.
    """
    config, path = run.config, checkpoint.path
    before, now = checkpoint.manifest.config, plain(config)
    if before != now:
        before = current_form(before)
    was = _length_of(before.get("train"), run.horizon)
    ignored = harmless(config)
    data = before.get("data")
    if not (isinstance(data, dict) and data.get("classes")):  # an earlier version, or a data set that did not know them
        ignored.append("data.classes")
    differing = differences(before, now, ignored)
    if _has_former_warmup(run, checkpoint) and config.lr.name != "constant":
        raise CheckpointError(
            f"{path}: its learning-rate schedule began at the end of the warm-up; schedules now begin with the run, and its "
            "rates would change: begin anew",
            anew(path.parent.parent) if ours else with_its_weights(path),
        )
    if not differing:
        return None
    others = differences(before, now, [*ignored, "train.epochs", "train.steps"])
    if others or was is None or was.total_steps > run.horizon.total_steps:
        sooner = "" if others else " (train.stop_after ends a run sooner)"
        raise CheckpointError(
            f"{path}: it was trained with another config: {'; '.join(differing)}{sooner}; choose another output, or go back "
            "to that config",
            anew(path.parent.parent) if ours else with_its_weights(path),
        )
    if was.total_steps == run.horizon.total_steps:
        return None
    found = extension(config, was, run.horizon)
    if found.lengths and not extend:
        raise CheckpointError(
            f"{path}: it was trained with another config: {'; '.join(differing)}; lengths in percent of the run change with it"
            f": {'; '.join(map(str, found.lengths))}: accept it (extend), or choose another output",
            Remedy("to accept it", extend=True),
        )
    return found


def _length_of(train: Any, horizon: Horizon) -> Horizon | None:
    """The length of a run by the section `train` of its saved config; None if it has none. horizon: of the current run."""
    if not isinstance(train, dict):
        return None
    epochs, steps = (value if isinstance(value, int) else None for value in (train.get("epochs"), train.get("steps")))
    return None if (epochs is None) == (steps is None) else replace(horizon, epochs=epochs, length=steps)


def _has_former_warmup(run: TrainingRun, checkpoint: Checkpoint) -> bool:
    return isinstance(run.programs.lr, Warmup) and is_former_warmup(checkpoint.manifest.lr)


def best_pointers(run: TrainingRun, best: Mapping[str, Best]) -> dict[str, Best]:
    """`best`, which is by monitored metric, by the name of the pointer file instead."""
    monitors = run.config.train.monitors
    return {pointer_of(monitor, monitors): best[monitor] for monitor in monitors if monitor in best}


def manifest_of(
    run: TrainingRun,
    images: Mapping[str, Image],
    state: State,
    metrics: Metrics,
    best: Mapping[str, Best],
    interval: Losses,
    waiting: Waiting | None = None,
    begun: Begun | None = None,
    owed: Owed | None = None,
) -> Manifest:
    """The manifest of a checkpoint.

    images: the files of its arrays, by part; waiting: the state of the early stop, if any; begun: the progress of the next
    step, if it has begun; owed: what is left undone after the last step.
    """
    return Manifest(
        ppema=VERSION,
        paddle=paddle.__version__,
        threads=threads_in_use(),
        onednn=run.programs.on_onednn,
        own_layers=run.programs.own_layers,
        mkl=mkl_settings(),
        state=state,
        random=step_seed(run.config.seed, state.step),
        lr=lr_state(run.programs.lr),
        best=dict(best),
        metrics={
            weights: {name: value if math.isfinite(value) else None for name, value in values.items()}
            for weights, values in metrics.items()
        },
        interval=interval,
        early_stop=waiting,
        begun=begun,
        owed=owed,
        fields=[
            SavedField(name=each.name, shape=list(each.shape), dtype=each.dtype, is_target=each.is_target)
            for each in run.eval_loader.fields
        ],
        averages={
            name: SavedAverage(
                shadow_of=average.shadow_of,
                count=average.count,
                weight=average.weight,
                steps=int(images[f"average-{name}"].views[average.count]),
                total_weight=float(images[f"average-{name}"].views[average.weight]),
            )
            for name, average in run.programs.averages.items()
        },
        structured=run.programs.model.structured,
        config=plain(run.config),
    )


def _load(run: TrainingRun, checkpoint: Checkpoint, extended: Extension | None) -> Start:
    manifest = checkpoint.manifest
    state = manifest.state
    micro_batches = run.micro_batches
    begun = manifest.begun or Begun()
    before = state.epoch * micro_batches.per_epoch + state.batch
    if before != micro_batches.before(state.step) or begun.batches >= micro_batches.of_step(state):
        raise CheckpointError(
            f"{checkpoint.path}: step {state.step} led to batch {state.batch} of epoch {state.epoch}, and an epoch has "
            f"{micro_batches.per_epoch} batches: the training data has changed"
        )
    if manifest.random != step_seed(run.config.seed, state.step):
        raise CheckpointError(
            f"{checkpoint.path}: ppema {manifest.ppema} drew other random numbers: go on with that version, or train anew"
        )
    schedule = run.programs.lr
    run.write(checkpoint)
    if what := StateCheck(run, state).culprit():
        raise CheckpointError(
            f"{checkpoint.path}: {what} is not finite, so every later step would be lost: go on from an earlier checkpoint, or "
            "choose another output"
        )
    stepped = _has_former_warmup(run, checkpoint) or (extended is not None and extended.of_lr)
    try:
        # A schedule that changes with the run's length is stepped from its start to this step. The same holds for a constant
        # rate whose warm-up was saved in a former format.
        if not stepped:
            set_lr_state(schedule, manifest.lr)
            rehearse(schedule, min(2, run.horizon.total_steps - state.step))
    except (ValueError, AttributeError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{checkpoint.path}: damaged: the learning rate's state: {one_line(error)}") from error
    if (stepped or extended is not None) and not isinstance(schedule, ReduceOnPlateau):
        # The last step of a run prepares no next rate, but an extended run needs it.
        while schedule.last_epoch < state.updates:
            schedule.step()
    metrics = {
        weights: {name: math.nan if value is None else value for name, value in values.items()}
        for weights, values in manifest.metrics.items()
    }
    return Start(state, begun, dict(manifest.best), metrics, manifest.interval, owed=manifest.owed)
