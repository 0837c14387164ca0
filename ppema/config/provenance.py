"""The origin of each key of a config that somebody set: a place in a file, an override, code, or the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ppema.config.schema import Config
from ppema.config.tree.positions import leaves
from ppema.errors import Path

OVERRIDE, CODE, DATA = "override", "code", "data"


@dataclass(frozen=True)
class KeyOrigin:
    """A key that is not left at its default. key: dotted; value: plain data; place: "file:line:column", or one of the above."""

    key: str
    value: Any
    place: str


def origins(config: Config, resolved: Config | None = None) -> list[KeyOrigin]:
    """The keys that files, overrides or code set, in the order of the config, each with its value.

    resolved: the config of the same run once its data is known. Keys that differ in it are listed too, with the place DATA.
    """
    positions = config.positions
    found = []
    for path, value in leaves(config.model_dump(exclude_unset=True)):
        position = positions.find(path)
        if position is None or path in positions.replaced:
            place = CODE
        elif path[:1] not in positions.of:
            continue  # A default that the reader of files filled in.
        else:
            place = position.text if position.line else OVERRIDE
        found.append(KeyOrigin(_dotted(path), value, place))
    before = dict(leaves(config.model_dump()))
    later = leaves(config.model_dump() if resolved is None else resolved.model_dump())
    found += [KeyOrigin(_dotted(path), value, DATA) for path, value in later if path not in before or before[path] != value]
    return found


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
