"""What a train program tells of each of its runs: whether everything in it was finite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ppema.ir import Parameter, Variable


@dataclass(frozen=True)
class Guard:
    """What a train program tells of each of its runs, and what a run that changes nothing puts back.

    finite: the variable, 0-D bool, that is False in a run which changes nothing; variables: the names of the parameters that
    the gradients are of [n]; statistics: the names of the floating-point variables that the forward pass writes [m], in the
    order in which it does; each: the variable that says of each gradient, then of each statistic, and at its end of the loss,
    whether it is finite, [n + m + 1] bool; held: the persistable variable that holds this of the last run which changed
    nothing; state_name: its name; copies: of the parameters `moved`, which the forward pass writes, as the run found them.
    """

    finite: Variable
    variables: tuple[str, ...]
    statistics: tuple[str, ...]
    each: Variable
    held: Variable
    state_name: str
    moved: tuple[Parameter, ...]
    copies: tuple[Variable, ...]

    def __str__(self) -> str:
        """In words, for people."""
        return f"checks the loss, {len(self.variables)} gradients and {len(self.statistics)} statistics; else nothing changes"

    def culprit(self, flags: np.ndarray) -> tuple[Literal["gradient", "statistic"], str] | None:
        """The first variable whose gradient was not finite, or else the first statistic; None where that was the loss alone.

        flags: as they are held.
        """
        gradients, statistics = flags[: len(self.variables)], flags[len(self.variables) : -1]
        for name, finite in zip(self.variables, gradients, strict=True):
            if not finite:
                return "gradient", name
        for name, finite in zip(self.statistics, statistics, strict=True):
            if not finite:
                return "statistic", name
        return None
