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
from ppema.weights.axes import Axes, axes_of, doubtful, misfit, remedy

_FLOATS = (*HALF_TYPES, "float32", "float64")
_MOST_NAMED = 10  # of one kind, in an error


@dataclass(frozen=True)
class Loaded:
    """A variable and the array of the source that is loaded into it.

    source: the array's name; kind: its dtype in the source; axes: the source's axes in the variable's order, None if they are
    not given. value: the array in the variable's dtype; exact: the same before the rounding to a half type. Both have the
    variable's shape.
    """

    parameter: Parameter
    source: str
    kind: str
    axes: Axes | None
    value: np.ndarray
    exact: np.ndarray

    @property
    def cast(self) -> str:
        """ "float64 → float32"; "" if the dtypes are equal."""
        return "" if self.kind == self.parameter.dtype else f"{self.kind} → {self.parameter.dtype}"

    @property
    def transposed(self) -> str:
        """ "transposed [3, 2, 0, 1]"; "" if the axes keep their order."""
        return "" if self.axes is None or list(self.axes) == sorted(self.axes) else f"transposed {list(self.axes)}"


@dataclass(frozen=True)
class Assignment:
    """The result for all variables of a model and all arrays of a source.

    missing: variables without an array; unexpected: arrays without a variable, as their forms by their names for messages;
    misshaped: variables whose array does not fit, with the reason; left: variables that `include` and `exclude` omit; ignored:
    arrays that `ignore` omits, like `unexpected`.
    """

    loaded: list[Loaded]
    missing: list[Parameter]
    unexpected: dict[str, str]
    misshaped: list[tuple[Parameter, str]]
    left: list[Parameter]
    ignored: dict[str, str]


def assign(
    spec: InitFrom, arrays: Mapping[str, np.ndarray], model: Sequence[Parameter], places: Mapping[str, str]
) -> Assignment:
    """Find the variable of each of `arrays` by its name, after `spec.rename`: a place in the model, or a variable's own name.

    arrays: by their names in the source; places: the variables' names by place. Raises ConfigError for a pattern without a
    match, and for two different arrays of one variable. Equal arrays, as of tied weights, are no error.
    """
    left = _left(spec, model, places)
    names = _ignored(spec.ignore, arrays)
    ignored = {printable(name): form(arrays[name]) for name in arrays if name in names}
    arrays = {name: array for name, array in arrays.items() if name not in names}
    axes = axes_of(spec.transpose, arrays)
    turned = {name: array.transpose(axes[name]) if name in axes else array for name, array in arrays.items()}
    of_name = {parameter.name: parameter for parameter in model}
    led: dict[str, str] = {}
    unexpected = {}
    for name, renamed in _renamed(spec.rename, arrays).items():
        variable = places.get(renamed, renamed)
        if variable not in of_name:
            unexpected[_called(name, renamed)] = form(arrays[name])
        elif variable not in led:
            led[variable] = name
        elif not _equal(turned[led[variable]], turned[name]):
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
            loaded.append(_fitted(parameter, source, turned[source], axes.get(source)))
        except ValueError as error:
            misshaped.append((parameter, str(error)))
    return Assignment(loaded, missing, unexpected, misshaped, [each for each in model if each.name in left], ignored)


def check(found: Assignment, strict: Iterable[Mismatch], titles: Mapping[str, str]) -> None:
    """Raise ConfigError for the mismatches of the kinds in `strict`, and if nothing is loaded.

    titles: how messages call a variable, by its name.
    """
    listings: dict[Mismatch, tuple[str, list[str], str]] = {
        "missing": (
            "the source has no array for",
            [f"{titles[each.name]} {list(each.shape)} {each.dtype}" for each in found.missing],
            "rename, exclude",
        ),
        "unexpected": (
            "the model has no variable for the source's",
            [f"{name} {form}" for name, form in found.unexpected.items()],
            "rename, ignore",
        ),
        "misshaped": (
            "the source's arrays do not fit",
            [f"{titles[parameter.name]} ({why})" for parameter, why in found.misshaped],
            "rename, transpose, exclude",
        ),
    }
    problems = [
        Problem((), f"{kind}: {what} {listed(names, _MOST_NAMED)}: {remedies}, or leave {kind} out of strict")
        for kind, (what, names, remedies) in listings.items()
        if names and kind in strict
    ]
    if not found.loaded and not problems:
        problems = [Problem((), "nothing is loaded: no array of the source belongs to a selected variable")]
    if problems:
        raise ConfigError(problems)


def check_layout(loaded: Iterable[Loaded], format: str) -> None:
    """Raise ConfigError for arrays that fit in two orders of their axes while `transpose` gives none.

    format: of the source, as in the metadata of a safetensors file; "paddle" for others. An array under its variable's own
    name is Paddle's.
    """
    open_ = [
        each
        for each in loaded
        if each.axes is None and each.source != each.parameter.name and doubtful(each.value.shape, format)
    ]
    if open_:
        names = listed([f"'{printable(each.source)}' {list(each.value.shape)}" for each in open_], _MOST_NAMED)
        raise ConfigError.of(
            f"{names} of the source would fit in another order too: {remedy(open_[0].value.shape)}", "transpose"
        )


def form(array: np.ndarray) -> str:
    """ "[3, 4] float32"."""
    return f"{list(array.shape)} {array.dtype.name}"


def _ignored(patterns: Sequence[str], names: Iterable[str]) -> set[str]:
    """The names that match one of `patterns`. Raises ConfigError for a pattern without a match."""
    ignored: set[str] = set()
    for index, pattern in enumerate(patterns):
        matching = {name for name in names if re.search(pattern, name)}
        if not matching:
            raise ConfigError.of(f"{pattern!r} matches no name of the source", "ignore", index)
        ignored |= matching
    return ignored


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


def _fitted(parameter: Parameter, source: str, array: np.ndarray, axes: Axes | None) -> Loaded:
    """The array in the variable's dtype. Raises ValueError, with the reason, for another shape or an incompatible dtype.

    array: with its axes in the order of `axes`, if they are given.
    """
    if array.shape != parameter.shape:
        raise ValueError(misfit(array.shape, parameter.shape, axes))
    kind = array.dtype.name
    if kind == parameter.dtype:
        return Loaded(parameter, source, kind, axes, array, widened(array))
    if kind in _FLOATS and parameter.dtype in _FLOATS:
        exact = widened(array)
        if parameter.dtype != "float64":
            exact = rounded(exact, "float32")
        value = rounded(exact, parameter.dtype)
        if not np.array_equal(np.isfinite(widened(array)), np.isfinite(widened(value))):
            raise ValueError(f"values of {kind} that are too large for {parameter.dtype}")
        return Loaded(parameter, source, kind, axes, value, exact)
    whole = not {kind, parameter.dtype}.intersection(_FLOATS) and array.dtype.kind in "iu"
    if whole and np.array_equal(value := array.astype(parameter.dtype), array):
        return Loaded(parameter, source, kind, axes, value, value)
    raise ValueError(f"{kind} in the source, {parameter.dtype} in the model")
