"""The differences of two resolved configs, as a message lists them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class _Absent:
    """The value of a missing key."""

    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def differences(before: Any, now: Any, ignored: Collection[str], path: str = "") -> list[str]:
    """The differences of two resolved configs without the `ignored` keys: "key: was x, now y" for every leaf.

    A section that only one of them has is "added" or "removed". A missing value is "absent".
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
