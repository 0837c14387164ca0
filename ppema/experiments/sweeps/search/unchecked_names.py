"""Swept keys with names, which are looked up only when a run starts: that requires paddle, or runs the user's modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppema.config import Choices
from ppema.config.swept import Swept

# Sections that name something, and lists of such sections.
_SECTIONS, _LISTS = ("model", "optimizer", "lr", "loss", "data"), ("losses", "metrics")


def unchecked_names(over: Mapping[str, Swept]) -> list[str]:
    """The swept keys whose values name models, losses, metrics, optimizers, schedules or data sets."""
    return [key for key, each in over.items() if isinstance(each, Choices) and any(_names(key, value) for value in each.values)]


def _names(key: str, value: Any) -> bool:
    first, *rest = key.split(".")
    if first not in (*_SECTIONS, *_LISTS):
        return False
    if isinstance(value, list | tuple):
        return not rest and any(_names(f"{key}.0", each) for each in value)
    if isinstance(value, str):
        return rest[-1:] == ["name"] or len(rest) == (first in _LISTS)
    return isinstance(value, Mapping) and "args" not in rest and "name" in value
