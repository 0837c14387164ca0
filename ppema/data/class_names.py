"""The names of classes, by label: those that a config keeps, and those that a data set knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppema.config import Config
from ppema.data.sets.digits import CLASSES
from ppema.errors import listed


def classes_of(config: Config) -> tuple[str, ...] | None:
    """The names of the classes of a run, by label; None if they are unknown.

    config: with `data.classes` of the run, which every checkpoint keeps. Runs on the digits have them in any version.
    """
    if config.data.classes is not None:
        return config.data.classes
    return CLASSES if config.data.train.name == "digits" else None


def names_in(dataset: Any) -> tuple[str, ...] | None:
    """The attribute `classes` of a data set, as torchvision and Paddle have it: names by label; None if it has no such list."""
    found = getattr(dataset, "classes", None)
    if not isinstance(found, (list, tuple)) or not found or not all(isinstance(name, str) and name for name in found):
        return None
    return tuple(found) if len(set(found)) == len(found) else None


def difference(found: Sequence[str], expected: Sequence[str]) -> str:
    """In words, how the names `found` differ from those `expected`; "" for none, in the same order."""
    lacking = [repr(name) for name in expected if name not in found]
    added = [repr(name) for name in found if name not in expected]
    said = [f"no {listed(lacking)}"] if lacking else []
    said += [f"{listed(added)} in addition"] if added else []
    if not said:
        said = [
            f"class {label} is {a!r}, not {b!r}" for label, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b
        ]
    return "; ".join(said[:2])
