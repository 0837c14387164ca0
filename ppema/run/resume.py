"""Going on with a run: what its manifest says, and whether a config may continue it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import paddle

from ppema.config import Config
from ppema.environment import threads_in_use
from ppema.errors import CheckpointError, ConfigError, one_line
from ppema.optimizers import lr_state, rehearse, set_lr_state
from ppema.run.best import Best
from ppema.run.checkpoint import Checkpoint
from ppema.run.checkpoints import Checkpoints, pointer_of
from ppema.run.folder import step_folder
from ppema.run.manifest import Manifest, Position, SavedAverage, SavedInterval
from ppema.run.records import read_metrics
from ppema.run.setup import TrainingRun
from ppema.run.state import State, step_seed
from ppema.run.tensors import Image
from ppema.version import VERSION

# Keys that may differ between a checkpoint and the run that goes on from it: they change no weight of any step.
_HARMLESS = (
    "init_from",
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
    "train.keep_every",
    "train.failed_save",
    "train.max_skipped",
)
# But for these, where evaluations decide about the learning rate.
_OF_EVALUATION = ("data.eval", "train.eval_every")

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Start:
    """Where a run begins: its position, the best by monitored metric, the last evaluation, and the log interval so far.

    said: what people should know of how it came to begin there.
    """

    state: State = field(default_factory=State)
    best: dict[str, Best] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=dict)
    interval: SavedInterval = field(default_factory=SavedInterval)
    said: tuple[str, ...] = ()


def open_run(run: TrainingRun, checkpoints: Checkpoints, resume: str) -> Start:
    """Begin anew, or at the checkpoint that `resume` (as for `train`) leads to, whose state then stands in the scope.

    Raises CheckpointError for a checkpoint that is missing, damaged, or of another config or model, and where going on would
    mix two runs in one folder; nothing was changed then.
    """
    if resume == "never":
        _check_new(checkpoints)
        checkpoints.clear()
        return Start()
    skipped: list[str] = []
    if resume == "auto":
        checkpoint, skipped = checkpoints.newest_intact()
        if checkpoint is None:
            checkpoints.clear()
            return Start()
    else:
        checkpoint = checkpoints.find(resume)
    ours = checkpoint.path.resolve().parent == checkpoints.folder.resolve()
    if ours:
        _check_in_place(checkpoint)
    else:
        _check_unmixed(checkpoints, checkpoint)
    _check_config(run, checkpoint)
    start = _load(run, checkpoint)
    if ours:
        aside = checkpoints.go_on_from(start.state.step, best_pointers(run, start.best))
        told = [*(f"skipped {each}" for each in skipped), *(f"set aside as {path}" for path in aside)]
        return replace(start, said=(*told, *_other_bits(run, checkpoint.manifest)))
    checkpoints.clear()
    return replace(start, said=tuple(_other_bits(run, checkpoint.manifest)))


def _other_bits(run: TrainingRun, manifest: Manifest) -> list[str]:
    """Why the run may not end with the bytes of an undisturbed one, which does not hinder it."""
    onednn = tuple("used" if each else "not used" for each in (manifest.onednn, run.programs.on_onednn))
    found = {
        "threads": (manifest.threads, threads_in_use()),
        "paddle": (manifest.paddle, paddle.__version__),
        "oneDNN": onednn,
    }
    differing = [f"{name} was {before}, now {now}" for name, (before, now) in found.items() if before != now]
    return [f"warning: {'; '.join(differing)}: the last bits of the weights may differ from now on"] if differing else []


def _check_new(checkpoints: Checkpoints) -> None:
    output = checkpoints.folder.parent
    if checkpoints.exists():
        found = "this run has checkpoints already"
    elif read_metrics(output):
        found = "this run has records already"
    else:
        return
    raise CheckpointError(f"{output}: {found}: resume it (--resume auto) or choose another output")


def _check_in_place(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError for one of the run's own that was set aside: the records that led to it are gone."""
    if checkpoint.path.name != step_folder(checkpoint.path.parent, checkpoint.step).name:
        raise CheckpointError(f"{checkpoint.path}: it was set aside, or renamed: go on from it in another output")


def _check_unmixed(checkpoints: Checkpoints, checkpoint: Checkpoint) -> None:
    """Raise CheckpointError where a run has begun in the folder.

    Records of later steps are what a kill left of this one, before it saved.
    """
    output = checkpoints.folder.parent
    if checkpoints.exists():
        found = f"{checkpoints.folder}: there are checkpoints of a run"
    elif any(record["step"] <= checkpoint.step for record in read_metrics(output)):
        found = f"{output}: there are records of a run"
    else:
        return
    raise CheckpointError(
        f"{found}, and going on from {checkpoint.path} would mix two runs in one folder: choose another output"
    )


def _check_config(run: TrainingRun, checkpoint: Checkpoint) -> None:
    harmless = [key for key in _HARMLESS if run.config.lr.name != "ReduceOnPlateau" or key not in _OF_EVALUATION]
    differing = differences(_with_defaults(checkpoint.manifest.config), plain(run.config), harmless)
    if differing:
        raise CheckpointError(
            f"{checkpoint.path}: it was trained with another config: {'; '.join(differing)}; choose another output, or "
            "go back to that config"
        )


def best_pointers(run: TrainingRun, best: Mapping[str, Best]) -> dict[str, Best]:
    """`best`, which is by monitored metric, by the name of the file that names its checkpoint."""
    monitors = run.config.train.monitors
    return {pointer_of(monitor, monitors): best[monitor] for monitor in monitors if monitor in best}


def manifest_of(
    run: TrainingRun,
    images: Mapping[str, Image],
    state: State,
    metrics: Metrics,
    best: Mapping[str, Best],
    interval: SavedInterval,
) -> Manifest:
    """What a checkpoint says beside its arrays, which are the `images`."""
    return Manifest(
        ppema=VERSION,
        paddle=paddle.__version__,
        threads=threads_in_use(),
        onednn=run.programs.on_onednn,
        state=Position(**asdict(state)),
        random=step_seed(run.config.seed, state.step),
        lr=lr_state(run.programs.lr),
        best=dict(best),
        metrics={
            weights: {name: value if math.isfinite(value) else None for name, value in values.items()}
            for weights, values in metrics.items()
        },
        interval=interval,
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
    """Where two resolved configs differ, but for the `harmless` keys: "key: was x, now y", for every leaf.

    A section that one of them lacks is "added" or "removed".
    """
    if path in harmless or before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in dict.fromkeys([*before, *now]):
            below = f"{path}.{key}" if path else str(key)
            found += differences(before.get(key), now.get(key), harmless, below)
        return found
    if before is None and isinstance(now, dict):
        return [f"{path}: added"]
    if now is None and isinstance(before, dict):
        return [f"{path}: removed"]
    return [f"{path}: was {before!r}, now {now!r}"]


def _load(run: TrainingRun, checkpoint: Checkpoint) -> Start:
    manifest = checkpoint.manifest
    state = State(**manifest.state.model_dump())
    epoch = run.horizon.steps_per_epoch
    if divmod(state.step, epoch) != (state.epoch, state.batch):
        raise CheckpointError(
            f"{checkpoint.path}: step {state.step} led to batch {state.batch} of epoch {state.epoch}, and an epoch has {epoch} "
            "batches: the training data is not what it was"
        )
    if manifest.random != step_seed(run.config.seed, state.step):
        raise CheckpointError(
            f"{checkpoint.path}: ppema {manifest.ppema} drew other random numbers: go on with that version, or train anew"
        )
    run.write(checkpoint)
    try:
        set_lr_state(run.programs.lr, manifest.lr)
        rehearse(run.programs.lr, min(2, run.horizon.total_steps - state.step))
    except (ValueError, AttributeError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{checkpoint.path}: damaged: the learning rate's state: {one_line(error)}") from error
    metrics = {
        weights: {name: math.nan if value is None else value for name, value in values.items()}
        for weights, values in manifest.metrics.items()
    }
    return Start(state, dict(manifest.best), metrics, manifest.interval)
