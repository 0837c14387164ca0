"""The keys of the config in which groups of runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppema.experiments.comparison.gathering import RunGroup


def differing(groups: Sequence[RunGroup]) -> dict[str, dict[str, Any]]:
    """By dotted key, the values of the groups by name, with defaults filled in, for each key whose values differ.

    A section that some groups lack is one key. Its value is then the section without its defaults. A group without the key has
    no value.
    """
    found: dict[str, dict[str, Any]] = {}
    whole = {group.name: group.runs[0].settings for group in groups}
    chosen = {group.name: group.runs[0].chosen for group in groups}
    _collect("", whole, chosen, found)
    return found


def _collect(path: str, whole: dict[str, Any], chosen: dict[str, Any], found: dict[str, dict[str, Any]]) -> None:
    """Add the differences below `path`. whole, chosen: its values by group, with and without defaults."""
    first = next(iter(whole.values()))
    if all(value == first for value in whole.values()):
        return
    if not all(isinstance(value, dict) for value in whole.values()):
        found[path] = {name: _brief(value, chosen.get(name)) for name, value in whole.items()}
        return
    for key in dict.fromkeys(key for value in whole.values() for key in value):
        having = {name: value[key] for name, value in whole.items() if key in value}
        brief = {name: value[key] for name, value in chosen.items() if isinstance(value, dict) and key in value}
        below = f"{path}.{key}" if path else key
        if len(having) < len(whole):
            found[below] = {name: _brief(value, brief.get(name)) for name, value in having.items()}
        else:
            _collect(below, having, brief, found)


def _brief(value: Any, chosen: Any) -> Any:
    """`value`, or `chosen`, the same without defaults, for a section or a list of sections."""
    return chosen if isinstance(value, dict | list) and chosen is not None else value
