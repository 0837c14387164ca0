"""The selection of variables that an average covers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ppema.errors import ConfigError, listed
from ppema.ir import Parameter

BatchNormPolicy = Literal["average", "copy", "recalibrate"]
POLICIES: tuple[BatchNormPolicy, ...] = get_args(BatchNormPolicy)


@dataclass(frozen=True)
class Choice:
    """How an average treats `parameter`, and why.

    how: "average": the average covers it. "recalibrate": a BatchNorm statistic with a measured value of its own. "leave": the
    value of the raw model is used.
    rule: the reason, for people.
    """

    parameter: Parameter
    how: Literal["average", "recalibrate", "leave"]
    rule: str


@dataclass(frozen=True)
class Selection:
    """The variables that an average covers.

    include: regular expressions. A variable is covered if one of them matches somewhere in its name or in its place in the
    model ("backbone.0.weight"). Empty: all variables are.
    exclude: regular expressions. A variable that one of them matches is not covered.
    batch_norm: "average" covers BatchNorm's running mean and variance like weights, "copy" uses those of the raw model,
    "recalibrate" measures them for the averaged weights.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    batch_norm: BatchNormPolicy = "average"

    def choose(
        self,
        parameters: Sequence[Parameter],
        written: Collection[str],
        statistics: Collection[str],
        places: Mapping[str, str],
    ) -> list[Choice]:
        """The choice for each of `parameters`, in their order.

        written: names of the variables that the train program writes. A parameter that is neither trained nor written never
        changes, so its average is the parameter itself.
        statistics: names of the variables that BatchNorm writes.
        places: place in the model by variable's name, as far as known.

        Raises ConfigError, at ("include", index) or ("exclude", index), for a pattern that is not a regular expression or
        matches nothing.
        """
        for key, patterns in (("include", self.include), ("exclude", self.exclude)):
            for index, pattern in enumerate(patterns):
                matched(pattern, parameters, places, key, index)
        return [self._choose(parameter, written, statistics, places) for parameter in parameters]

    def _choose(
        self, parameter: Parameter, written: Collection[str], statistics: Collection[str], places: Mapping[str, str]
    ) -> Choice:
        def first(patterns: Sequence[str]) -> str | None:
            return next((each for each in patterns if _matches(re.compile(each), parameter, places)), None)

        included, excluded = first(self.include), first(self.exclude)
        if not parameter.averaged:
            return Choice(parameter, "leave", "opted out" if "float" in parameter.dtype else "whole numbers")
        if not parameter.trainable and parameter.name not in written:
            return Choice(parameter, "leave", "frozen")
        if parameter.name in statistics and self.batch_norm != "average":
            return Choice(parameter, "leave" if self.batch_norm == "copy" else "recalibrate", f"batch_norm: {self.batch_norm}")
        if excluded is not None:
            return Choice(parameter, "leave", f"exclude {excluded}")
        if self.include and included is None:
            return Choice(parameter, "leave", "not included")
        kind = "trained" if parameter.trainable else "statistic"
        return Choice(parameter, "average", f"include {included}" if included else kind)


def chosen(choices: Sequence[Choice], how: str) -> list[Parameter]:
    """The parameters of the choices with this `how`."""
    return [choice.parameter for choice in choices if choice.how == how]


def matched(pattern: str, parameters: Sequence[Parameter], places: Mapping[str, str], *path: str | int) -> list[Parameter]:
    """The parameters that have a match of `pattern` in their name, or in their place in the model.

    places: by variable's name, as far as known. Raises ConfigError at `path` for a pattern that is not a regular expression or
    matches nothing.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError.of(f"{pattern!r} is not a regular expression: {error}", *path) from error
    found = [parameter for parameter in parameters if _matches(compiled, parameter, places)]
    if not found:
        some = listed([places.get(parameter.name, parameter.name) for parameter in parameters])
        raise ConfigError.of(f"{pattern!r} matches none of the {len(parameters)} variables, which are {some}", *path)
    return found


def _matches(pattern: re.Pattern[str], parameter: Parameter, places: Mapping[str, str]) -> bool:
    return any(pattern.search(name) for name in (parameter.name, places.get(parameter.name, "")))
