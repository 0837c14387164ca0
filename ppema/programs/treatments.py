"""Finds the treatment of each variable by a config's `groups` and `optimizer.no_decay`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ppema.config import Config
from ppema.errors import ConfigError
from ppema.ir import NORM_KINDS, PAIRED_NORM_KINDS, backend
from ppema.optimizers.optimizer import DECAY_FILTERS, optimizer_of
from ppema.passes.select import matched
from ppema.passes.treatment import Treatment
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
            for parameter in matched(group.match, model.parameters, places, "match"):
                other = group_of.setdefault(parameter.name, index)
                if other != index:
                    place = places.get(parameter.name, parameter.name)
                    raise ConfigError.of(f"{place} is in groups[{other}] already: let one of them match less", "match")
                if parameter.trainable or group.frozen or group.frozen_for:
                    settings = (group.weight_decay, group.frozen, group.frozen_for)
                    found[parameter.name] = Treatment(group.lr_scale or 1.0, *settings)
            if index not in {group_of[name] for name in found if name in group_of}:
                raise ConfigError.of(f"{group.match!r} matches no trainable variable", "match")
    with config.at("groups"):
        _check_norms(found, model, places)
    if config.optimizer.no_decay:
        with config.at("optimizer"):
            _check_no_decay(config.optimizer)
    for name in _of_kinds(config.optimizer.no_decay, model, places):
        treatment = found.get(name, Treatment())
        if treatment.weight_decay is None and not treatment.frozen:
            found[name] = replace(treatment, weight_decay=0.0)
    return found


def _of_kinds(kinds: Iterable[str], model: Model, places: Mapping[str, str]) -> list[str]:
    """The names of the trainable variables of these kinds: "bias" by their place, "norm" by the operation that reads them."""
    operations = backend().operations(model.test.program)
    normalising = {name for op in operations if op.kind.rstrip("_") in NORM_KINDS for name in op.reads}
    chosen = set(kinds)
    found = []
    for parameter in model.parameters:
        name = parameter.name
        bias = "bias" in places.get(name, "").rpartition(".")[2]
        if parameter.trainable and (("bias" in chosen and bias) or ("norm" in chosen and name in normalising)):
            found.append(name)
    return found


def _check_norms(found: Mapping[str, Treatment], model: Model, places: Mapping[str, str]) -> None:
    """Raise ConfigError for a normalisation layer of which one weight, or one statistic, is frozen unlike the other."""
    trainable = {parameter.name for parameter in model.parameters if parameter.trainable}
    frozen = {name: each for name, each in found.items() if each.frozen or each.frozen_for}
    for op in backend().operations(model.test.program):
        if op.kind.rstrip("_") in PAIRED_NORM_KINDS:
            for pair in (trainable.intersection(op.reads), set(op.reads) - trainable):
                times = {name: (each.frozen, each.frozen_for) for name in pair if (each := frozen.get(name))}
                if not times:
                    continue
                one = min(times)
                other = min((name for name in pair if times.get(name) != times[one]), default=None)
                if other is not None:
                    how = "frozen" if found[one].frozen else f"frozen for {found[one].frozen_for}"
                    names = (places.get(one, one), places.get(other, other))
                    raise ConfigError.of(f"{names[0]} is {how} and {names[1]} is not: freeze both of a layer, or neither")


def _check_no_decay(optimizer: Any) -> None:
    """Raise ConfigError for `no_decay` of an optimizer that decays nothing."""
    parameters = inspect.signature(optimizer_of(optimizer.name)).parameters.values()
    by_default = any("weight_decay" in each.name and isinstance(each.default, float) and each.default for each in parameters)
    if not (optimizer.weight_decay or by_default or any("weight_decay" in key for key in optimizer.args)):
        raise ConfigError.of(f"{optimizer.name} has no weight decay here: set weight_decay, or remove it", "no_decay")


def _check_decay(optimizer: Any, decay: float) -> None:
    parameters = inspect.signature(optimizer_of(optimizer)).parameters
    if "weight_decay" not in parameters and not any(each in parameters for each in DECAY_FILTERS):
        raise ConfigError.of(f"{optimizer} takes no weight decay", "weight_decay")
    if decay and any(each in parameters for each in DECAY_FILTERS):
        raise ConfigError.of(f"{optimizer} has one weight decay for all variables: expected 0", "weight_decay")
