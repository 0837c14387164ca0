"""The values that a sweep gives to a key: a list of them, or a range such as `log:1e-3..1e-1`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from ppema.config.tree.positions import Position
from ppema.config.tree.yaml_text import one_line_yaml
from ppema.config.tree.yaml_tree import read_yaml
from ppema.errors import ConfigError
from ppema.values import shown

RangeKind = Literal["float", "log", "int"]
MOST_POINTS_OF_RANGE = 10_000
FORMS = "a range such as log:1e-3..1e-1, 0.5..0.9 or int:2..8, or values such as 0.9,0.99"

_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_RANGE = re.compile(rf"\s*(?:([a-z]+):)?\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*(?::\s*([0-9]{{1,9}}))?\s*")
# A text that was meant as a range, unlike the path ../data.
_MEANT = re.compile(r"\s*(?:(?:float|log|int):|[a-z]*:?[-+]?\.?[0-9][-+0-9.eE]*\.\.|.*\.\.[-+]?\.?[0-9])", re.DOTALL)


@dataclass(frozen=True)
class Choices:
    """Values of a key, in order: plain data, each of them once. Raises ConfigError for an empty list and for duplicates."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError.of(f"expected {FORMS}, got no value")
        seen = set()
        for value in self.values:
            if (key := _identity(value)) in seen:
                raise ConfigError.of(f"{shown(value)} is listed twice")
            seen.add(key)

    def __str__(self) -> str:
        text = one_line_yaml(list(self.values))
        one_list = len(self.values) == 1 and isinstance(self.values[0], list | tuple)
        return text if one_list else text[1:-1]

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values to check before a sweep: all of them."""
        return self.values

    @property
    def grid(self) -> tuple[Any, ...] | None:
        """The values in a grid."""
        return self.values


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included.

    kind: float and int are uniform, log is uniform in the logarithm. points: their number in a grid; None: a grid has every
    integer of an int range, and refuses the others. Raises ConfigError for a range of less than two numbers, and for an
    impossible number of points.
    """

    kind: RangeKind
    low: float
    high: float
    points: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ConfigError.of(f"expected finite numbers in the range {self}")
        if self.kind == "log" and self.low <= 0:
            raise ConfigError.of(f"expected numbers > 0 in the range {self}")
        if not self.low < self.high:
            fault = "has one number" if self.low == self.high else "is empty, as its lower end comes first"
            raise ConfigError.of(f"the range {self} {fault}")
        if self.points is not None:
            most = int(min(self.high - self.low + 1, MOST_POINTS_OF_RANGE)) if self.kind == "int" else MOST_POINTS_OF_RANGE
            if not 2 <= self.points <= most:
                raise ConfigError.of(f"expected from 2 to {most} points in the range {self}")

    def __str__(self) -> str:
        points = "" if self.points is None else f":{self.points}"
        return f"{self.kind}:{self.low!r}..{self.high!r}{points}"

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values to check before a sweep: the two ends."""
        return self.low, self.high

    @property
    def grid(self) -> tuple[Any, ...] | None:
        """The values in a grid, evenly spaced, with both ends; None if their number is unknown.

        Numbers between the ends are rounded to 12 digits, so that 0.1..0.5 in 5 points has 0.3.
        """
        if self.points is None:
            return tuple(range(int(self.low), int(self.high) + 1)) if self.kind == "int" else None
        shares = [index / (self.points - 1) for index in range(1, self.points - 1)]
        if self.kind == "int":
            inner: list[float] = [round(self.low + share * (self.high - self.low)) for share in shares]
        elif self.kind == "log":
            inner = [float(f"{self.low ** (1 - share) * self.high**share:.12g}") for share in shares]
        else:
            inner = [float(f"{self.low * (1 - share) + self.high * share:.12g}") for share in shares]
        return (self.low, *inner, self.high)


Swept = Choices | Range


def parse_swept(text: str) -> Swept:
    """The range or the values, separated by commas, in `text`.

    The values are YAML, as between the brackets of a list. Raises ConfigError for any other text.
    """
    if match := _RANGE.fullmatch(text):
        return _range(*match.groups())
    if _MEANT.match(text):
        raise ConfigError.of(f"expected {FORMS}, got {shown(text)}")
    try:
        entry = read_yaml(f"[{text}]", lambda mark: Position(""))
    except ConfigError as error:
        problem = error.problems[0].message
        raise ConfigError.of(f"expected {FORMS}, got {shown(text)}: {problem}") from None
    values = entry.plain() if entry else None
    if not isinstance(values, list) or text.rstrip().endswith(","):
        raise ConfigError.of(f"expected {FORMS}, got {shown(text)}")
    if len(values) == 1 and isinstance(values[0], list):  # the values, in brackets of their own
        (values,) = values
    return Choices(tuple(values))


def _range(kind: str | None, low: str, high: str, points: str | None) -> Range:
    if kind not in (None, "float", "log", "int"):
        raise ConfigError.of(f"unknown kind of range {kind!r}; known: float, log, int")
    found = cast(RangeKind, kind or "float")
    number = _integer if found == "int" else float
    return Range(found, number(low), number(high), int(points) if points else None)


def _integer(text: str) -> int:
    if not re.fullmatch(r"[-+]?[0-9]{1,18}", text):
        raise ConfigError.of(f"expected integers of up to 18 digits in an int range, got {text}")
    return int(text)


def _identity(value: Any) -> Any:
    """A key that is equal for equal plain data. The number 1 equals 1.0, but not true."""
    if isinstance(value, Mapping):
        return frozenset((key, _identity(each)) for key, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(_identity, value))
    return type(value) if value is None else (isinstance(value, bool), value)
