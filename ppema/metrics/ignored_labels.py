"""Compares the labels that the losses and metrics of a config ignore."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ppema.losses import LAYERS, LOSSES
from ppema.metrics.known import METRICS


def warn_of_ignored(losses: Mapping[str, Any], metrics: Sequence[Any], *, one_target: bool) -> None:
    """Warn of each metric whose `ignore_index` is that of no loss on the same target.

    Losses and metrics without such an argument do not count. losses, metrics: entries of a config, losses by the names of
    their parts; one_target: whether all of them have the same target.
    """
    ignored: dict[Any, list[Any]] = {}
    for name, spec in losses.items():
        if _can_ignore(spec, {**LOSSES, **LAYERS}):
            target = None if one_target else spec.target or name
            ignored.setdefault(target, []).append(spec.args.get("ignore_index"))
    for index, spec in enumerate(metrics):
        own, of_losses = spec.args.get("ignore_index"), ignored.get(None if one_target else spec.target, [])
        if _can_ignore(spec, METRICS) and of_losses and own not in of_losses:
            said = f"{_shown(own)}, and that of the loss on the same target is {_shown(of_losses[0])}"
            warnings.warn(f"metrics.{index}: the ignore_index of {spec.figure} is {said}", stacklevel=2)


def _can_ignore(spec: Any, known: Mapping[str, Any]) -> bool:
    if "ignore_index" in spec.args:
        return True
    return spec.name in known and "ignore_index" in inspect.signature(known[spec.name]).parameters


def _shown(label: Any) -> str:
    return "null" if label is None else str(label)
