"""The guard of a train program: variables that report whether a run was finite, and copies for a skipped run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ppema.ir import Parameter, Variable


@dataclass(frozen=True)
class Guard:
    """The variables of a train program that report whether a run was finite, and those that restore a skipped run.

    finite: 0-D bool, False in a skipped run.
    variables: [n] names of the parameters whose gradients are checked.
    statistics: [m] names of the floating-point variables that the forward pass writes, in the order of the writes.
    each: [n + m + 1] bool, whether each gradient, then each statistic, then the loss is finite.
    held: persistable copy of `each` from the last skipped run.
    state_name: name of `held`.
    moved: all variables that the forward pass writes, integers included.
    copies: copies of `moved` from the start of the run.
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
        """The guard in words, for the report of passes."""
        checked = f"the loss, {len(self.variables)} gradients and {len(self.statistics)} statistics"
        return f"checks {checked}; a run with a non-finite number is skipped"

    def culprit(self, flags: np.ndarray) -> tuple[Literal["gradient", "statistic"], str] | None:
        """The kind and name of the first non-finite gradient or, without one, statistic. None if only the loss was non-finite.

        flags: [n + m + 1] bool, the value of `held`.
        """
        gradients, statistics = flags[: len(self.variables)], flags[len(self.variables) : -1]
        for name, finite in zip(self.variables, gradients, strict=True):
            if not finite:
                return "gradient", name
        for name, finite in zip(self.statistics, statistics, strict=True):
            if not finite:
                return "statistic", name
        return None
