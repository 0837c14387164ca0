"""Finds the treatment of each variable by a config's `groups` and `optimizer.no_decay`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ppema.config import Config
from ppema.errors import ConfigError
from ppema.ir import Parameter, backend
from ppema.optimizers.optimizer import DECAY_FILTERS, optimizer_of
from ppema.passes.groups import Treatment
from ppema.programs.eval_program import Model


def treatments_of(config: Config, model: Model) -> dict[str, Treatment]:
    """The treatments by variable's name; variables with the default treatment are omitted.

    model: has the variables of the train program. Raises ConfigError for a pattern that is wrong, matches no variable or
    overlaps another group, and for an impossible weight decay.
    """
    places = {name: place for place, name in model.structured.items()}
    found: dict[str, Treatment] = {}
    group_of: dict[str, int] = {}
    for index, group in enumerate(config.groups):
        with config.at("groups", index):
            if group.weight_decay is not None:
                _check_decay(config.optimizer.name, group.weight_decay)
            for parameter in _matched(group.match, model.parameters, places):
                other = group_of.setdefault(parameter.name, index)
                if other != index:
                    place = places.get(parameter.name, parameter.name)
                    raise ConfigError.of(f"{place} is in groups[{other}] already: let one of them match less", "match")
                found[parameter.name] = Treatment(group.lr_scale or 1.0, group.weight_decay, group.frozen)
    for name in _of_kinds(config.optimizer.no_decay, model, places):
        treatment = found.get(name, Treatment())
        if treatment.weight_decay is None and not treatment.frozen:
            found[name] = replace(treatment, weight_decay=0.0)
    return found


def _matched(pattern: str, parameters: Iterable[Parameter], places: Mapping[str, str]) -> list[Parameter]:
    parameters = list(parameters)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError.of(f"{pattern!r} is not a regular expression: {error}", "match") from error
    found = [each for each in parameters if any(compiled.search(name) for name in (each.name, places.get(each.name, "")))]
    if not found:
        some = ", ".join(places.get(each.name, each.name) for each in parameters[:3])
        raise ConfigError.of(f"{pattern!r} matches none of the {len(parameters)} variables, which are {some}, ...", "match")
    return found


def _of_kinds(kinds: Iterable[str], model: Model, places: Mapping[str, str]) -> list[str]:
    """The names of the trainable variables of these kinds: "bias" by their place, "norm" by the operation that reads them."""
    operations = backend().operations(model.test.program)
    normalising = {name for op in operations if "_norm" in op.kind for name in op.reads}
    chosen = set(kinds)
    found = []
    for parameter in model.parameters:
        name = parameter.name
        bias = "bias" in places.get(name, "").rpartition(".")[2]
        if parameter.trainable and (("bias" in chosen and bias) or ("norm" in chosen and name in normalising)):
            found.append(name)
    return found


def _check_decay(optimizer: Any, decay: float) -> None:
    parameters = inspect.signature(optimizer_of(optimizer)).parameters
    if "weight_decay" not in parameters and not any(each in parameters for each in DECAY_FILTERS):
        raise ConfigError.of(f"{optimizer} takes no weight decay", "weight_decay")
    if decay and any(each in parameters for each in DECAY_FILTERS):
        raise ConfigError.of(f"{optimizer} has one weight decay for all variables: expected 0", "weight_decay")
