"""Loads the initial weights of a new run from a file or checkpoint (`init_from`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ppema.averaging.precision import SHADOW_TYPES, widened
from ppema.checkpoint.state import BEGINNING
from ppema.config.sections.init_from import InitFrom
from ppema.errors import CheckpointError, ConfigError, listed, printable
from ppema.ir import backend, scope
from ppema.programs.build import Programs
from ppema.training.checks.statecheck import StateCheck
from ppema.training.setup import TrainingRun
from ppema.weights.assignment import Assignment, Loaded, assign, check, check_layout
from ppema.weights.source import open_source

_MOST_NAMED = 5  # names of one kind, on a terminal


@dataclass(frozen=True)
class Restored:
    """The result of `init_from`.

    source: the source in words; found: the loaded and the remaining variables; titles: for each variable's name its name in
    messages.
    """

    source: str
    found: Assignment
    titles: Mapping[str, str]

    def summary(self) -> list[str]:
        """Lines for a terminal: the counts, and the names of all variables that were not simply loaded."""
        found, casts = self.found, [each for each in self.found.loaded if each.cast]
        named = {
            "transposed": [self.titles[each.parameter.name] for each in found.loaded if each.transposed],
            "cast": [f"{self.titles[each.parameter.name]} ({each.cast})" for each in casts],
            "missing": [self.titles[each.name] for each in found.missing],
            "unexpected": list(found.unexpected),
            "misshaped": [f"{self.titles[each.name]} ({why})" for each, why in found.misshaped],
            "left out": [self.titles[each.name] for each in found.left],
            "ignored": list(found.ignored),
        }
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in named.items())
        return [
            f"init_from {self.source}: {len(found.loaded)} of {len(self.titles)} variables loaded ({counts})",
            *(f"init_from: {kind}: {listed(names, _MOST_NAMED)}" for kind, names in named.items() if names),
        ]

    def rows(self) -> list[tuple[str, str, str]]:
        """(variable, result, name of the array in the source) for each variable, then ("", result, name) for other arrays."""
        found = self.found
        rows = [
            *((each.name, "missing", "") for each in found.missing),
            *((each.name, f"misshaped: {why}", "") for each, why in found.misshaped),
            *((each.name, "left out", "") for each in found.left),
        ]
        for each in found.loaded:
            done = ", ".join(filter(None, ("loaded", each.transposed, each.cast)))
            rows.append((each.parameter.name, done, printable(each.source)))
        others = {"unexpected": found.unexpected, "ignored": found.ignored}
        return [*sorted(rows), *(("", f"{kind}: {form}", name) for kind, of in others.items() for name, form in of.items())]


def begin_with(run: TrainingRun) -> Restored | None:
    """Load the weights of `init_from` in place of the random ones: all of them, or none.

    Copies of a weight get its new value too: the optimizer's master weight of a half type, and the shadow of an average that
    starts at its weight (`bias_correction: false`, recalibrated statistics).

    Returns None if the config has no `init_from`. Raises ConfigError, also for a non-finite weight that is trained.
    """
    spec = run.config.init_from
    restored = None if spec is None else _restore(run, spec)
    with run.config.at("model" if restored is None else "init_from"):
        if what := StateCheck(run, BEGINNING).culprit():
            raise ConfigError.of(f"{what} is not finite to begin with")
    return restored


def _restore(run: TrainingRun, spec: InitFrom) -> Restored:
    """Load the weights of `spec` into the scope: all of them, or none. Raises ConfigError."""
    model = run.programs.model
    with run.config.at("init_from"):
        try:
            source = open_source(spec.path, spec.weights)
        except CheckpointError as error:
            nowhere = "" if os.path.lexists(spec.path) else f" (looked at {os.path.abspath(spec.path)})"
            raise ConfigError.of(f"{error}{nowhere}", "path") from error
        titles = {parameter.name: parameter.name for parameter in model.parameters}
        titles |= {name: place for place, name in reversed(model.structured.items()) if name in titles}
        found = assign(spec, source.arrays, model.parameters, model.structured)
        check(found, spec.strict, titles)
        check_layout(found.loaded, source.format)
    scope.put(run.scope, _values(run.programs, found.loaded))
    return Restored(source.what, found, titles)


def _values(programs: Programs, loaded: list[Loaded]) -> dict[str, np.ndarray]:
    """The new values, by name, of the loaded variables and of all copies of them."""
    values = {each.parameter.name: each.value for each in loaded}
    masters = backend().master_weights(programs.train)
    copies = {masters[each.parameter.name][0]: each.exact for each in loaded if each.parameter.name in masters}
    for average in programs.averages.values():
        begins = set(average.recalibrated if average.rule.bias_correction else average.shadow_of)
        for each in loaded:
            variable = each.parameter.name
            if variable in begins:
                value = each.exact if variable in average.master_of else widened(each.value)
                copies[average.shadow_of[variable]] = value.astype(SHADOW_TYPES[each.parameter.dtype])
    return values | copies
