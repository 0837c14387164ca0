"""The arguments `average` and `classes` of a metric with a figure for each class or label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ppema.errors import ConfigError
from ppema.values import shown

T = TypeVar("T")


@dataclass(frozen=True)
class ClassAverage:
    """How the figures of classes, or of labels, become those of a metric.

    kind: an average, "none" for a figure of each class, or None for the metric's default; names: of the classes, or empty.
    """

    kind: str | None
    names: tuple[str, ...]

    @classmethod
    def of(cls, average: str | None, classes: Sequence[str], known: Sequence[str]) -> ClassAverage:
        """From arguments of a config. known: the averages that the metric has. Raises ConfigError."""
        if average is not None and average not in known:
            raise ConfigError.of(f"expected one of {', '.join(known)}, got {shown(average)}", "args", "average")
        if isinstance(classes, str) or not all(map(_is_name, classes)) or len(set(classes)) < len(classes):
            raise ConfigError.of("expected different names made of letters, digits, '_' and '-'", "args", "classes")
        if classes and average != "none":
            raise ConfigError.of("it goes with average: none", "args", "classes")
        return cls(average, tuple(classes))

    def check(self, size: int, what: str) -> None:
        """Raises ConfigError if the names are not `size`, the number of classes. what: "classes" or "labels"."""
        if self.names and len(self.names) != size:
            raise ConfigError.of(f"{len(self.names)} names for {size} {what}", "args", "classes")

    def named(self, each: Sequence[T]) -> dict[str, T]:
        """The figures `each`, one for each class, by the names of the classes, or by their numbers."""
        names = self.names or [str(index) for index in range(len(each))]
        return dict(zip(names, each, strict=True))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[A-Za-z0-9_-]+", value) is not None
