"""The variables of a gradient's norm in a train program."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GradientNorm:
    """The variables of the gradient's norm in a train program.

    due_name: name of a bool [], whether a run measures the norm; the caller sets it. value_name: name of the norm, float64 [],
    of the last step that measured it. variables: names of the parameters whose gradients it covers.
    """

    due_name: str
    value_name: str
    variables: tuple[str, ...]

    def __str__(self) -> str:
        """The norm in words, for the report of passes."""
        return f"of {len(self.variables)} gradients, in the steps that the log has"

    @property
    def state_names(self) -> list[str]:
        """The names of both variables. They describe one step, and are no part of a checkpoint."""
        return [self.due_name, self.value_name]
