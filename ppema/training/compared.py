"""Whether two resolved configs compute the same run, and where they differ."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ppema.config import Config
from ppema.errors import ConfigError
from ppema.optimizers.schedules import with_units

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


class _Absent:
    """What a key that is not there has in place of a value."""

    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def harmless(config: Config) -> list[str]:
    """The keys that may differ between a checkpoint and the run of `config` that goes on from it."""
    return [key for key in _HARMLESS if config.lr.name != "ReduceOnPlateau" or key not in _OF_EVALUATION]


def plain(config: Config) -> dict[str, Any]:
    """The resolved config as JSON holds it."""
    return config.model_dump(mode="json")


def current_form(config: dict[str, Any]) -> dict[str, Any]:
    """A resolved config of an earlier version, with the keys that came since at their defaults, and units in its schedule."""
    try:
        found = plain(Config.model_validate(config))
    except ConfigError:
        return config
    return {**found, "lr": {**found["lr"], "args": with_units(found["lr"]["args"])}}


def differences(before: Any, now: Any, ignored: Collection[str], path: str = "") -> list[str]:
    """Where two resolved configs differ, but for the `ignored` keys: "key: was x, now y", for every leaf.

    A section that one of them lacks is "added" or "removed", and a value that it lacks is "absent".
    """
    if path in ignored or before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in dict.fromkeys([*before, *now]):
            below = f"{path}.{key}" if path else str(key)
            found += differences(before.get(key, _ABSENT), now.get(key, _ABSENT), ignored, below)
        return found
    if before in (None, _ABSENT) and isinstance(now, dict):
        return [f"{path}: added"]
    if now in (None, _ABSENT) and isinstance(before, dict):
        return [f"{path}: removed"]
    return [f"{path}: was {before!r}, now {now!r}"]
