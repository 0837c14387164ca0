"""The outputs of a model by name, and the choice of the output and target that a loss or metric compares."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ppema.config.sections.measure import Measure
from ppema.errors import ConfigError, listed
from ppema.ir import Variable, is_variable
from ppema.user_code.names import did_you_mean


def call(model: Any, inputs: Mapping[str, Variable], *, named: bool) -> Any:
    """What `model` returns for `inputs`. named: whether the config names the inputs.

    A model whose forward has parameters of the inputs' names is called by name, any other in the order of `inputs`. Raises
    ConfigError if only some inputs have the name of a parameter, as the order could then be wrong.
    """
    known = _parameters(model) if named else ()
    if (matched := [name for name in inputs if name in known]) and len(inputs) > 1:
        if len(matched) < len(inputs):
            others = [name for name in inputs if name not in matched]
            raise ConfigError.of(
                f"forward takes the input {listed(matched)} by name, but has no parameter {listed(others)}: "
                "give data.inputs the names of its parameters, or none of them"
            )
        return model(**inputs)
    return model(*inputs.values())


def _parameters(model: Any) -> tuple[str, ...]:
    try:
        found = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(each.name for each in found if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY))


def outputs_of(returned: Any) -> dict[str, Variable]:
    """The outputs by name: of one variable "output", of a tuple "output_0", "output_1", ..., of a mapping its keys.

    Raises ConfigError for anything else, and for an empty tuple or mapping.
    """
    if is_variable(returned):
        return {"output": returned}
    if isinstance(returned, Mapping):
        found = dict(returned)
    elif isinstance(returned, (tuple, list)):
        found = {f"output_{index}": value for index, value in enumerate(returned)}
    else:
        found = {}
    if not found:
        kind = type(returned).__name__ + (" without an entry" if isinstance(returned, (Mapping, tuple, list)) else "")
        raise ConfigError.of(f"the model must return a variable, a tuple or a mapping of variables, it returns a {kind}")
    for name, value in found.items():
        if not isinstance(name, str):
            raise ConfigError.of(f"the names of the model's outputs must be strings, got {name!r}")
        if not is_variable(value):
            raise ConfigError.of(f"the model's output {name!r} must be a variable, it is a {type(value).__name__}")
    return found


def operands(spec: Measure, outputs: Mapping[str, Variable], targets: Mapping[str, Variable], own: str = "") -> tuple[Any, Any]:
    """The predictions and targets that the loss or metric `spec` compares: a variable each, or a mapping for a list of names.

    own: the name of the part of a loss, which chooses the output and target of that name. Raises ConfigError for an unknown
    name, and for several outputs or targets if nothing chooses one.
    """
    return _chosen("output", spec.output, outputs, own, "the model returns"), _chosen(
        "target", spec.target, targets, own, "the targets are"
    )


def _chosen(key: str, names: str | tuple[str, ...] | None, found: Mapping[str, Variable], own: str, are: str) -> Any:
    if names is None:
        if len(found) == 1:
            return next(iter(found.values()))
        if own in found:
            return found[own]
        raise ConfigError.of(f"{are} {', '.join(found)}: choose one", key)
    for name in (names,) if isinstance(names, str) else names:
        if name not in found:
            hint = did_you_mean(name, found) or f"; {are} {', '.join(found)}"
            raise ConfigError.of(f"there is no {key} {name!r}{hint}", key)
    return found[names] if isinstance(names, str) else {name: found[name] for name in names}
