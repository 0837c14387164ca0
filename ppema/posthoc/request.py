"""The arguments of `ppema.average`, checked as far as they can be without a run. No paddle."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from ppema.config import DEFAULT_BATCHES
from ppema.errors import Naming, PpemaError
from ppema.posthoc.lengths import BETWEEN, Kind

POINTS = 9  # the default number of lengths in a search
MOST_POINTS = 10_000  # each point is an evaluation
Method = Literal["grid", "golden"]


@dataclass(frozen=True)
class Given:
    """Averages of given lengths, from snapshots; each is written. text: the lengths, separated by commas."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True)
class Search:
    """A search for the length with the best metric, from snapshots; only the winner is written.

    between: the least and the greatest length, separated by a comma.
    """

    kind: Kind
    method: Method
    between: str
    points: int

    def __str__(self) -> str:
        return f"{self.method}-{self.kind}"


@dataclass(frozen=True)
class LastCheckpoints:
    """The uniform mean of the raw weights of the last `count` checkpoints."""

    count: int

    def __str__(self) -> str:
        return f"last-{self.count}"


Wanted = Given | Search | LastCheckpoints


@dataclass(frozen=True)
class AverageRequest:
    """A call of `ppema.api.average`: the wanted averages, and arguments that are the same there. `request_of` makes it."""

    wanted: Wanted
    step: int | None = None
    metric: str | None = None
    recalibrate_batches: int = DEFAULT_BATCHES
    name: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `request_of` for it: those of the wanted averages, and all others."""
        wanted = self.wanted
        if isinstance(wanted, Given):
            given: dict[str, Any] = {wanted.kind: wanted.text}
        elif isinstance(wanted, Search):
            given = {"search": wanted.method, "over": wanted.kind, "between": wanted.between, "points": wanted.points}
        else:
            given = {"last_checkpoints": wanted.count}
        return given | {each.name: getattr(self, each.name) for each in fields(self) if each.name != "wanted"}

    @property
    def file_name(self) -> str:
        """The name of the files: `name`, or one that is derived from the other arguments."""
        if self.name:
            return self.name
        wanted = self.wanted
        text = f"{wanted}-{in_a_name(wanted.text)}" if isinstance(wanted, Given) and "," not in wanted.text else str(wanted)
        return text if self.step is None else f"{text}-step-{self.step}"


_AVERAGES = ("sigma_rel", "half_life", "search", "last_checkpoints")  # of which one is given
_OF_SEARCH = ("over", "between", "points")
ARGUMENTS = (*_AVERAGES, *_OF_SEARCH, *(each.name for each in fields(AverageRequest) if each.name != "wanted"))


def request_of(**arguments: Any) -> AverageRequest:
    """The request with `arguments`, some of the ARGUMENTS of `ppema.api.average`. Raises PpemaError for wrong ones."""
    given = {key: value for key in _AVERAGES if (value := arguments.pop(key, None)) is not None}
    wanted = _wanted(given, {key: arguments.pop(key, None) for key in _OF_SEARCH})
    made = AverageRequest(wanted, **arguments)
    if made.step is not None:
        _check_integer("step", made.step, 1)
        if isinstance(wanted, LastCheckpoints):
            raise PpemaError(Naming("{step}: it goes with averages from snapshots, not with {last_checkpoints}"))
    _check_integer("recalibrate_batches", made.recalibrate_batches, 0, "0 or more batches")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", made.file_name):
        said = "{name}: expected a name made of letters, digits, '.', '_', '+' and '-', got {!r}"
        raise PpemaError(Naming(said, made.file_name))
    return made


def in_a_name(text: str) -> str:
    """`text`, a length, with characters that the name of a file may have."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text.replace("%", "percent")).strip("_")


def _wanted(given: Mapping[str, Any], options: Mapping[str, Any]) -> Wanted:
    """The wanted averages. given, options: arguments of `request_of`; `given` has those that are not None."""
    if len(given) != 1:
        raise PpemaError(Naming("give one of {sigma_rel}, {half_life}, {search} and {last_checkpoints}, not {}", len(given)))
    ((key, value),) = given.items()
    for option, other in options.items():
        if other is not None and key != "search":
            raise PpemaError(Naming(f"{{{option}}}: it goes with {{search}}"))
    if key == "last_checkpoints":
        _check_integer(key, value, 1)
        return LastCheckpoints(value)
    if key != "search":
        return Given("sigma_rel" if key == "sigma_rel" else "half_life", _listed(value))
    _one_of("search", value, get_args(Method))
    over, between, points = (options[each] for each in ("over", "between", "points"))
    kind = _one_of("over", "sigma_rel" if over is None else over, get_args(Kind))
    points = POINTS if points is None else points
    _check_integer("points", points, 2, f"an integer from 2 to {MOST_POINTS}", MOST_POINTS)
    return Search(kind, value, BETWEEN[kind] if between is None else _listed(between), points)


def _listed(value: object) -> str:
    """One length or several, separated by commas."""
    return ",".join(map(str, value)) if isinstance(value, Iterable) and not isinstance(value, str) else str(value)


def _check_integer(argument: str, value: object, least: int, said: str = "1 or more", most: float = math.inf) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise PpemaError(Naming(f"{{{argument}}}: expected {{}}, got {{!r}}", said, value))


def _one_of(argument: str, value: Any, known: Sequence[str]) -> Any:
    if value not in known:
        raise PpemaError(Naming(f"{{{argument}}}: expected {{}}, got {{!r}}", " or ".join(known), value))
    return value
