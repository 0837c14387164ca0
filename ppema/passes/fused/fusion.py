"""`Fusion`: how one C++ operation makes the step of a train program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ppema.ir.updates.update import Update


@dataclass
class Fusion:
    """How one C++ operation makes the step of a train program.

    gated: whether the operation decides by itself about a run that is not finite; otherwise it is in a branch that decides.
    updates: the optimizer's operations that it replaces, in their order.
    """

    gated: bool
    updates: Sequence[Update] = field(default_factory=tuple)
