"""`OptimizerUpdate`, all operations of an optimizer in a step, and `Update`, one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppema.ir.elements import Gradient, Variable


@dataclass(frozen=True)
class OptimizerUpdate:
    """Appends the update of an optimizer of Paddle, as `IR.update_of` makes it."""

    optimizer: Any
    append: Callable[[Sequence[Gradient]], None]

    def __call__(self, gradients: Sequence[Gradient]) -> None:
        """Append the update by `gradients` to the current block."""
        self.append(gradients)


@dataclass(frozen=True)
class Update:
    """One operation of an optimizer, which updates one parameter by its gradient.

    rule: "sgd", "momentum", "adam" or "lamb". accumulators, numbers: those of the rule, in the order of native/step.cc.
    factor: of the gradient, float32 of one element, by which a clip scales it. None: 1.
    """

    rule: str
    parameter: Variable
    gradient: Variable
    rate: Variable
    accumulators: tuple[Variable, ...]
    numbers: tuple[float, ...]
    factor: Variable | None = None


def rule_of(kind: str, attributes: Mapping[str, Any]) -> tuple[str, tuple[float, ...]] | None:
    """The rule and the numbers of an optimizer's operation. None: native/step.cc does not know it, or one of its options.

    kind: as in `Operation.kind`, without "_" at its end. attributes: with beta1, beta2 and epsilon as numbers.
    """
    options = ("multi_precision", "lazy_mode", "amsgrad", "use_global_beta_pow")
    if any(attributes.get(each) for each in options) or attributes.get("rescale_grad", 1.0) != 1.0:
        return None
    match kind:
        case "sgd":
            return "sgd", (0.0,)
        case "momentum":
            decays = attributes["regularization_method"] == "l2_decay"
            decay = attributes["regularization_coeff"] if decays else 0.0
            return "momentum", (decay, attributes["mu"], float(attributes["use_nesterov"]))
        case "adam":
            return "adam", (0.0, *(attributes[name] for name in ("beta1", "beta2", "epsilon")), 0.0)
        case "adamw" if attributes["lr_ratio"] == 1.0:
            coefficient = attributes["coeff"] if attributes["with_decay"] else 0.0
            return "adam", (0.0, *(attributes[name] for name in ("beta1", "beta2", "epsilon")), coefficient)
        case "lamb":
            decay = attributes["weight_decay"]
            adapts = float(decay > 0 or attributes["always_adapt"])
            return "lamb", (0.0, *(attributes[name] for name in ("beta1", "beta2", "epsilon")), decay, adapts)
        case _:
            return None
