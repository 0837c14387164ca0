"""How messages show values: on one line, short, and spelt as in YAML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

_LONGEST = 60  # characters
_MOST_BITS = 400


def shown(value: object) -> str:
    """`value` as a message shows it: on one line, short, and spelt as in YAML."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float() if math.isnan(value):
            return ".nan"
        case float() if math.isinf(value):
            return ".inf" if value > 0 else "-.inf"
        case int() if value.bit_length() > _MOST_BITS:  # Python spells out no more than 4,300 digits.
            return f"an integer of {value.bit_length()} bits"
        case int() | float():
            return str(value)
        case str():
            return repr(value) if len(value) <= _LONGEST else f"{value[:_LONGEST]!r}..."
        case Mapping():
            items = (f"{key}: {shown(item)}" for key, item in value.items())
            return _bracketed("{", items, "}") or f"a mapping of {len(value)} keys"
        case list() | tuple():
            return _bracketed("[", map(shown, value), "]") or f"a list of {len(value)} items"
        case _:
            return f"an object of type {type(value).__name__}"


def number(value: int) -> str:
    """A bound as a message shows it: 1024, 1e15."""
    return f"{value:.15g}".replace("+", "")


def _bracketed(opening: str, items: Iterable[str], closing: str) -> str | None:
    """The items in brackets, or None once they are too long for a message."""
    text = opening
    for item in items:
        text += item if text == opening else f", {item}"
        if len(text) > _LONGEST:
            return None
    return text + closing
