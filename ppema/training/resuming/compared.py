"""Compares two resolved configs: whether they compute the same run, and where they differ."""

from __future__ import annotations

from typing import Any

from ppema.config import Config
from ppema.errors import ConfigError
from ppema.optimizers.schedules import with_units

# Keys that may differ between a checkpoint and the run that continues from it. They change no weight at any step.
_HARMLESS = (
    "init_from",
    "board",
    "output",
    "runtime.threads",
    "runtime.device",
    "runtime.executor",
    "runtime.onednn",
    "runtime.rank_patience",
    "metrics",
    "data.eval",
    "data.train.workers",
    "train.stop_after",
    "train.log_every",
    "train.log_norms",
    "train.eval_every",
    "train.save_every",
    "train.evaluate",
    "train.early_stop",
    "train.snapshot_every",
    "train.keep",
    "train.keep_every",
    "train.failed_save",
    "train.max_skipped",
)
# Keys of _HARMLESS that matter if evaluations set the learning rate.
_OF_EVALUATION = ("data.eval", "train.eval_every")


def harmless(config: Config) -> list[str]:
    """The keys that may differ between a checkpoint and the run of `config` that continues from it."""
    harmless = [key for key in _HARMLESS if config.lr.name != "ReduceOnPlateau" or key not in _OF_EVALUATION]
    return [*harmless, *(f"averages.{name}.sharded" for name in config.averages)]


def plain(config: Config) -> dict[str, Any]:
    """The resolved config as values of JSON."""
    return config.model_dump(mode="json")


def current_form(config: dict[str, Any]) -> dict[str, Any]:
    """Convert a resolved config of an earlier version: newer keys get their defaults, the schedule's durations get units."""
    try:
        found = plain(Config.model_validate(config))
    except ConfigError:
        return config
    return {**found, "lr": {**found["lr"], "args": with_units(found["lr"]["args"])}}
