"""Going on with a run: what its manifest says, and whether a config may continue it."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import paddle

from ppema.config import Config
from ppema.environment import threads_in_use
from ppema.errors import CheckpointError
from ppema.run.best import Best
from ppema.run.checkpoint import Checkpoints
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
    "train.keep",
)


@dataclass(frozen=True)
class Start:
    """Where a run begins: its position, the best and the last evaluation so far."""

    state: State = field(default_factory=State)
    best: Best | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)


def open_run(run: TrainingRun, checkpoints: Checkpoints, resume: str) -> Start:
    """Begin anew, or at the checkpoint that `resume` (as for `train`) leads to, whose state then stands in the scope."""
    if resume == "never" and checkpoints.exists():
        raise CheckpointError(
            f"{checkpoints.folder}: this run has checkpoints already: resume it (--resume auto) or choose another output"
        )
    if resume == "never" or (resume == "auto" and not checkpoints.exists()):
        return Start()
    checkpoint = checkpoints.find("last" if resume == "auto" else resume)
    manifest = checkpoint.manifest
    differing = differences(manifest["config"], plain(run.config))
    if differing:
        raise CheckpointError(
            f"{checkpoint.path}: it was trained with another config: {'; '.join(differing)}; choose another output, or "
            "go back to that config"
        )
    run.write(checkpoint)
    with warnings.catch_warnings():
        # Paddle calls the state of the schedule inside a LinearWarmup unused, after using it.
        warnings.filterwarnings("ignore", message="There are some unused values in state_dict")
        run.programs.lr.set_state_dict(manifest["lr"])
    best = Best(**manifest["best"]) if manifest["best"] else None
    return Start(State(**manifest["state"]), best, manifest["metrics"])


def manifest_of(run: TrainingRun, state: State, metrics: dict[str, dict[str, float]], best: Best | None) -> dict[str, Any]:
    """What a checkpoint says beside its arrays; JSON keeps a float's every digit."""
    return {
        "ppema": VERSION,
        "paddle": paddle.__version__,
        "threads": threads_in_use(),
        "state": asdict(state),
        "lr": run.programs.lr.state_dict(),
        "best": asdict(best) if best else None,
        "metrics": metrics,
        "averages": {
            name: {"shadow_of": average.shadow_of, "count": average.count, "weight": average.weight}
            for name, average in run.programs.averages.items()
        },
        "structured": run.programs.model.structured,
        "config": plain(run.config),
    }


def plain(config: Config) -> dict[str, Any]:
    """The resolved config as JSON holds it."""
    return config.model_dump(mode="json")


def differences(before: Any, now: Any, path: str = "") -> list[str]:
    """Where two resolved configs differ, but for what is harmless: "key: was x, now y", for every leaf."""
    if path in _HARMLESS or before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            line for key in keys for line in differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [f"{path}: was {before!r}, now {now!r}"]
