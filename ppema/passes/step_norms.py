"""The variables of a step's norms in a train program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ppema.ir import Variable, scope


@dataclass(frozen=True)
class StepNorms:
    """The variables of the norms of a step's gradient, weights and update in a train program.

    gradient: the norm of the gradient, float64 [1].
    weights, before: the weights that the step trains, and copies of them from before the optimizer's update.
    value, name: the norms of the last measured step, float64 [3], and the name of this variable.
    """

    gradient: Variable
    weights: tuple[Variable, ...]
    before: tuple[Variable, ...]
    value: Variable
    name: str

    def read(self, where: Any) -> dict[str, float]:
        """The norms of the last measured step that was not skipped. where: the scope of the program."""
        names = ("gradient_norm", "parameter_norm", "update_norm")
        return dict(zip(names, scope.get(where, self.name).tolist(), strict=True))
