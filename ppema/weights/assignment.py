"""The assignment of a source's arrays to a model's variables: by name, like TensorFlow's assignment map."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppema.averaging.precision import HALF_TYPES, rounded, widened
from ppema.config import InitFrom
from ppema.config.sections.init_from import Mismatch
from ppema.errors import ConfigError, Problem, listed, printable
from ppema.ir import Parameter

_FLOATS = (*HALF_TYPES, "float32", "float64")
_MOST_NAMED = 10  # of one kind, in an error


@dataclass(frozen=True)
class Loaded:
    """A variable and the array of the source that is loaded into it.

    source: the array's name; kind: its dtype in the source. value: the array in the variable's dtype; exact: the same before
    the rounding to a half type. Both have the variable's shape.
    """

    parameter: Parameter
    source: str
    kind: str
    value: np.ndarray
    exact: np.ndarray

    @property
    def cast(self) -> str:
        """ "float64 → float32"; "" if the dtypes are equal."""
        return "" if self.kind == self.parameter.dtype else f"{self.kind} → {self.parameter.dtype}"


@dataclass(frozen=True)
class Assignment:
    """The result for all variables of a model and all arrays of a source.

    missing: variables without an array; unexpected: arrays without a variable, as their forms by their names for messages;
    misshaped: variables whose array does not fit, with the reason; left: variables that `include` and `exclude` omit.
    """

    loaded: list[Loaded]
    missing: list[Parameter]
    unexpected: dict[str, str]
    misshaped: list[tuple[Parameter, str]]
    left: list[Parameter]


def assign(
    spec: InitFrom, arrays: Mapping[str, np.ndarray], model: Sequence[Parameter], places: Mapping[str, str]
) -> Assignment:
    """Find the variable of each of `arrays` by its name, after `spec.rename`: a place in the model, or a variable's own name.

    arrays: by their names in the source; places: the variables' names by place. Raises ConfigError for a pattern that matches
    no variable, and for two different arrays of one variable. Equal arrays, as of tied weights, are no error.
    """
    left = _left(spec, model, places)
    of_name = {parameter.name: parameter for parameter in model}
    led: dict[str, str] = {}
    unexpected = {}
    for name, renamed in _renamed(spec.rename, arrays).items():
        variable = places.get(renamed, renamed)
        if variable not in of_name:
            unexpected[_called(name, renamed)] = form(arrays[name])
        elif variable not in led:
            led[variable] = name
        elif not _equal(arrays[led[variable]], arrays[name]):
            two = f"'{printable(led[variable])}' and '{printable(name)}'"
            raise ConfigError.of(f"{two} of the source both lead to variable {variable!r}", "rename")
    loaded, missing, misshaped = [], [], []
    for parameter in model:
        if parameter.name in left:
            continue
        if parameter.name not in led:
            missing.append(parameter)
            continue
        source = led[parameter.name]
        try:
            loaded.append(_fitted(parameter, source, arrays[source]))
        except ValueError as error:
            misshaped.append((parameter, str(error)))
    return Assignment(loaded, missing, unexpected, misshaped, [each for each in model if each.name in left])


def check(found: Assignment, strict: Iterable[Mismatch], titles: Mapping[str, str]) -> None:
    """Raise ConfigError for the mismatches of the kinds in `strict`, and if nothing is loaded.

    titles: how messages call a variable, by its name.
    """
    listings: dict[Mismatch, tuple[str, list[str]]] = {
        "missing": (
            "the source has no array for",
            [f"{titles[each.name]} {list(each.shape)} {each.dtype}" for each in found.missing],
        ),
        "unexpected": (
            "the model has no variable for the source's",
            [f"{name} {form}" for name, form in found.unexpected.items()],
        ),
        "misshaped": (
            "the source's arrays do not fit",
            [f"{titles[parameter.name]} ({why})" for parameter, why in found.misshaped],
        ),
    }
    problems = [
        Problem((), f"{kind}: {what} {listed(names, _MOST_NAMED)}: rename, exclude, or leave {kind} out of strict")
        for kind, (what, names) in listings.items()
        if names and kind in strict
    ]
    if not found.loaded and not problems:
        problems = [Problem((), "nothing is loaded: no array of the source belongs to a selected variable")]
    if problems:
        raise ConfigError(problems)


def form(array: np.ndarray) -> str:
    """ "[3, 4] float32"."""
    return f"{list(array.shape)} {array.dtype.name}"


def _renamed(rename: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The new names by the old ones. Raises ConfigError if two names become equal."""
    made: dict[str, str] = {}
    for name in names:
        new = name
        for pattern, replacement in rename.items():
            new = re.sub(pattern, replacement, new)
        if new in made:
            two = f"'{printable(made[new])}' and '{printable(name)}'"
            raise ConfigError.of(f"{two} of the source both become '{printable(new)}'", "rename")
        made[new] = name
    return {name: new for new, name in made.items()}


def _called(name: str, renamed: str) -> str:
    """The name of an array in the source, and its new name if it was renamed, for a message."""
    return printable(name) if name == renamed else f"{printable(name)} (renamed {printable(renamed)})"


def _left(spec: InitFrom, model: Sequence[Parameter], places: Mapping[str, str]) -> set[str]:
    """The names of the variables that `include` and `exclude` omit. Raises ConfigError for a pattern without a match."""
    known = {parameter.name: [parameter.name] for parameter in model}
    for place, name in places.items():
        known.setdefault(name, [name]).append(place)

    def matched(key: str) -> set[str]:
        found: set[str] = set()
        for index, pattern in enumerate(getattr(spec, key)):
            names = {name for name, each in known.items() if any(re.search(pattern, text) for text in each)}
            if not names:
                raise ConfigError.of(f"{pattern!r} matches none of the model's {len(model)} variables", key, index)
            found |= names
        return found

    included, excluded = matched("include"), matched("exclude")
    return {name for name in known if name in excluded or (spec.include and name not in included)}


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _fitted(parameter: Parameter, source: str, array: np.ndarray) -> Loaded:
    """The array in the variable's dtype. Raises ValueError, with the reason, for another shape or an incompatible dtype."""
    if array.shape != parameter.shape:
        raise ValueError(f"{list(array.shape)} in the source, {list(parameter.shape)} in the model")
    kind = array.dtype.name
    if kind == parameter.dtype:
        return Loaded(parameter, source, kind, array, widened(array))
    if kind in _FLOATS and parameter.dtype in _FLOATS:
        exact = widened(array)
        if parameter.dtype != "float64":
            exact = rounded(exact, "float32")
        value = rounded(exact, parameter.dtype)
        if not np.array_equal(np.isfinite(widened(array)), np.isfinite(widened(value))):
            raise ValueError(f"values of {kind} that are too large for {parameter.dtype}")
        return Loaded(parameter, source, kind, value, exact)
    whole = not {kind, parameter.dtype}.intersection(_FLOATS) and array.dtype.kind in "iu"
    if whole and np.array_equal(value := array.astype(parameter.dtype), array):
        return Loaded(parameter, source, kind, value, value)
    raise ValueError(f"{kind} in the source, {parameter.dtype} in the model")
