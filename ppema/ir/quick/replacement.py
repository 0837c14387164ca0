"""What a replacement of one kind of operation consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ppema.ir.base import Variable


@dataclass(frozen=True)
class Replacement:
    """One replacement.

    fits: whether an operation can be replaced. build: appends the new operations and returns their results, in order; None
    where the operation has no such result. native: whether it takes one of ppema's own operations. overwrites: the index of the
    operand that this one works in place of.
    """

    fits: Callable[[object], bool]
    build: Callable[[object], tuple[Variable | None, ...]]
    native: bool = False
    overwrites: int | None = None
