"""The objective of a step: the loss of a config, or the weighted sum of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import paddle

from ppema.config import Config
from ppema.errors import ConfigError
from ppema.ir import Variable, dtype_name
from ppema.losses import TargetRange, Weighted, build_loss, form, mean, per_sample
from ppema.programs.outputs import is_variable, operands
from ppema.user_code.blame import building


@dataclass(frozen=True)
class Objective:
    """The parts of a loss in a program.

    parts: by name, [N] float32 or `Weighted`, or a scalar mean over the batch; one part named "" without `losses`.
    weights: the factor of each part.
    accepts: by target's name, its valid values, if the loss limits them.
    """

    parts: dict[str, Variable | Weighted]
    weights: dict[str, float]
    accepts: dict[str, TargetRange]

    def total(self) -> tuple[Variable, dict[str, Variable]]:
        """Append Σ weight·mean over the batch, 0-D float32. Returns it, and the means of the named parts by "loss.<name>"."""
        means = {name: mean(part) for name, part in self.parts.items()}
        if "" in means:
            return means[""], {}
        terms = [value * self.weights[name] for name, value in means.items()]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total, {f"loss.{name}": value for name, value in means.items()}


def objective(config: Config, outputs: Mapping[str, Variable], targets: Mapping[str, Variable]) -> Objective:
    """Build the loss of `config`, or each part of it. Raises ConfigError."""
    parts: dict[str, Variable | Weighted] = {}
    accepts: dict[str, TargetRange] = {}
    for name, spec in config.loss_parts.items():
        with config.at(*(("losses", name) if name else ("loss",))):
            predictions, target = operands(spec, outputs, targets, name)
            with building():
                loss = build_loss(spec)
                parts[name] = measured("loss", loss(predictions, target))
            chosen = next((each for each, value in targets.items() if value is target), None)
            valid = None if chosen is None else loss.accepts(predictions, target)
            if chosen is not None and valid is not None:
                accepts[chosen] = valid.both(accepts[chosen]) if chosen in accepts else valid
    return Objective(parts, {name: spec.weight for name, spec in config.loss_parts.items()}, accepts)


def measured(what: str, value: Any) -> Variable | Weighted:
    """Cast `value`, the result of the loss or metric `what`, to float32: [N], or a scalar that is the mean over the batch.

    Of `Weighted` values and weights, both are [N]. Raises ConfigError for a result that is no variable, and for any other
    shape.
    """
    if isinstance(value, Weighted):
        if [list(each.shape) for each in value] != [list(value.values.shape)] * 2 or not value.values.shape:
            raise ConfigError.of(
                f"{what} must return values and weights of one shape; it returns {' and '.join(map(form, value))}"
            )
        return per_sample(Weighted(*map(_float32, value)))
    if not is_variable(value):
        raise ConfigError.of(f"{what} must return a variable, it returns a {type(value).__name__}")
    value = per_sample(_float32(value))
    if list(value.shape) not in ([], [1], [-1]):
        raise ConfigError.of(f"{what} must return a value per sample, or one for the batch; it returns {form(value)}")
    return value


def _float32(value: Variable) -> Variable:
    return value if dtype_name(value) == "float32" else paddle.cast(value, "float32")
