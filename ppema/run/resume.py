"""Going on with a run: what its manifest says, and whether a config may continue it."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

import paddle

from ppema.config import Config
from ppema.environment import threads_in_use
from ppema.errors import CheckpointError, ConfigError, one_line
from ppema.optimizers import lr_state, set_lr_state
from ppema.run.best import Best
from ppema.run.checkpoint import Checkpoint, Checkpoints
from ppema.run.manifest import FORMAT, Manifest, Position, SavedAverage
from ppema.run.setup import TrainingRun
from ppema.run.state import State
from ppema.version import VERSION

# Keys that may differ between a checkpoint and the run that goes on from it: they change no weight of any step.
_HARMLESS = (
    "output",
    "runtime",
    "metrics",
    "data.eval",
    "data.train.workers",
    "train.stop_after",
    "train.log_every",
    "train.eval_every",
    "train.save_every",
    "train.snapshot_every",
    "train.keep",
)
# But for these, where evaluations decide about the learning rate.
_OF_EVALUATION = ("data.eval", "train.eval_every")

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Start:
    """Where a run begins: its position, the best and the last evaluation so far."""

    state: State = field(default_factory=State)
    best: Best | None = None
    metrics: Metrics = field(default_factory=dict)


def open_run(run: TrainingRun, checkpoints: Checkpoints, resume: str) -> Start:
    """Begin anew, or at the checkpoint that `resume` (as for `train`) leads to, whose state then stands in the scope.

    Raises CheckpointError for a checkpoint that is missing, damaged, or of another config or model, and where going on would
    mix two runs in one folder.
    """
    if resume == "never" and checkpoints.exists():
        raise CheckpointError(
            f"{checkpoints.folder}: this run has checkpoints already: resume it (--resume auto) or choose another output"
        )
    if resume == "never" or (resume == "auto" and not checkpoints.exists()):
        return Start()
    checkpoint = checkpoints.find("last" if resume == "auto" else resume)
    if checkpoints.exists() and not checkpoint.path.samefile(checkpoints.find("last").path):
        raise CheckpointError(
            f"{checkpoints.folder}: its last checkpoint is another one, and going on from {checkpoint.path.name} would "
            "mix two runs in one folder: choose another output"
        )
    harmless = [key for key in _HARMLESS if run.config.lr.name != "ReduceOnPlateau" or key not in _OF_EVALUATION]
    differing = differences(_with_defaults(checkpoint.manifest.config), plain(run.config), harmless)
    if differing:
        raise CheckpointError(
            f"{checkpoint.path}: it was trained with another config: {'; '.join(differing)}; choose another output, or "
            "go back to that config"
        )
    return _load(run, checkpoint)


def manifest_of(run: TrainingRun, state: State, metrics: Metrics, best: Best | None) -> Manifest:
    """What a checkpoint says beside its arrays."""
    return Manifest(
        format=FORMAT,
        ppema=VERSION,
        paddle=paddle.__version__,
        threads=threads_in_use(),
        state=Position(**asdict(state)),
        lr=lr_state(run.programs.lr),
        best=best,
        metrics={
            weights: {name: value if math.isfinite(value) else None for name, value in values.items()}
            for weights, values in metrics.items()
        },
        averages={
            name: SavedAverage(shadow_of=average.shadow_of, count=average.count, weight=average.weight)
            for name, average in run.programs.averages.items()
        },
        structured=run.programs.model.structured,
        config=plain(run.config),
    )


def plain(config: Config) -> dict[str, Any]:
    """The resolved config as JSON holds it."""
    return config.model_dump(mode="json")


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A resolved config of an earlier version with the keys that came since, at their defaults."""
    try:
        return plain(Config.model_validate(config))
    except ConfigError:
        return config


def differences(before: Any, now: Any, harmless: Collection[str], path: str = "") -> list[str]:
    """Where two resolved configs differ, but for the `harmless` keys: "key: was x, now y", for every leaf."""
    if path in harmless or before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in dict.fromkeys([*before, *now]):
            below = f"{path}.{key}" if path else str(key)
            found += differences(before.get(key), now.get(key), harmless, below)
        return found
    return [f"{path}: was {before!r}, now {now!r}"]


def _load(run: TrainingRun, checkpoint: Checkpoint) -> Start:
    manifest = checkpoint.manifest
    state = State(**manifest.state.model_dump())
    if state.batch >= run.horizon.steps_per_epoch:
        raise CheckpointError(f"{checkpoint.path}: damaged: batch {state.batch} of {run.horizon.steps_per_epoch} in an epoch")
    run.write(checkpoint)
    try:
        set_lr_state(run.programs.lr, manifest.lr)
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{checkpoint.path}: damaged: the learning rate's state: {one_line(error)}") from error
    metrics = {
        weights: {name: math.nan if value is None else value for name, value in values.items()}
        for weights, values in manifest.metrics.items()
    }
    return Start(state, manifest.best, metrics)
