"""The variables of a train program whose steps take several micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from ppema.ir import Parameter, Variable

# The inputs that say which micro-batch of its step a run takes.
BEGINS, ENDS = "step.begins", "step.ends"


@dataclass(frozen=True)
class Accumulation:
    """The variables of a train program whose steps take several micro-batches. Mappings have parameters' names as keys.

    every: the number of micro-batches in a step. The last step of an epoch may have fewer.
    begins, ends: 0-D bool inputs, whether a run takes the first and the last micro-batch of its step.
    weight: 0-D float32, what a run's micro-batch counts: the number of its samples, or the sum of their weights.
    sum_of, sums: names and variables of Σ weight·gradient over the micro-batches of a step so far, float32 or float64.
    total_name, total: name and variable of Σ weight over them, 0-D float32.
    divisor: what the sums of a whole step are divided by, 0-D float32: `total`, or its sum over all ranks.
    moved: the variables that the forward pass writes, such as BatchNorm's statistics.
    before_of, before: names and variables of their values at the start of the step.
    """

    every: int
    begins: Variable
    ends: Variable
    weight: Variable
    sum_of: dict[str, str]
    sums: dict[str, Variable]
    total_name: str
    total: Variable
    divisor: Variable
    moved: tuple[Parameter, ...]
    before_of: dict[str, str]
    before: tuple[Variable, ...]

    def __str__(self) -> str:
        """The accumulation in words, for the report of passes."""
        return f"sums {len(self.sums)} gradients over {self.every} micro-batches"

    def keep(self, values: Sequence[Variable]) -> None:
        """Append the assignment of `values` to `before`."""
        for value, variable in zip(values, self.before, strict=True):
            paddle.assign(value, output=variable)

    def clear(self) -> None:
        """Append the assignment of zero to all sums."""
        for variable in (*self.sums.values(), self.total):
            paddle.assign(paddle.zeros(variable.shape, variable.dtype), output=variable)

    @property
    def state_names(self) -> list[str]:
        """The names of all variables that a run in the middle of a step needs beside those between steps, `moved` excluded."""
        return [*self.sum_of.values(), self.total_name, *self.before_of.values()]


def feed_of(*, begins: bool, ends: bool) -> dict[str, np.ndarray]:
    """The inputs of a run. begins, ends: whether it takes the first and the last micro-batch of its step."""
    return {BEGINS: np.array(begins), ENDS: np.array(ends)}
