"""An average that stands in for the weights of a scope, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import numpy as np
import paddle

from ppema.errors import AverageError
from ppema.ir import Program, TestSwitches, backend, scope
from ppema.passes.ema import Average

# Those in progress, of whatever object: two that share a variable would put each other's average aside as the raw weights.
# Weakly, so that one which nobody can restore any more stands in nobody's way.
_IN_PROGRESS: WeakSet[Applied] = WeakSet()


class Applied:
    """One `apply` in progress: in which scope, what was put aside, and the test switches as they were."""

    def __init__(self, where: Any, average: Average, kept: dict[str, Any] | None, switches: list[TestSwitches]):
        self._scope = where
        self._average = average
        self._kept = kept
        self._switches = switches
        self._count = updates(where, average)

    @classmethod
    def start(cls, average: Average, programs: Sequence[Program], *, exchange: bool) -> Applied:
        """Let `average` and the weights trade places in the current scope, or with exchange=False give them copies of it.

        Either all of it happens or none. Raises AverageError when the scope lacks a variable, before the first update, and
        while another average of the same variables is applied in this scope.
        """
        where = paddle.static.global_scope()
        check_started(where, average)
        for other in in_progress(where):
            if not other._average.shadow_of.keys().isdisjoint(average.shadow_of):
                raise AverageError(
                    f"the average {other._average.name!r} is applied to these variables: restore it before applying "
                    f"{average.name!r}, or the raw weights would be lost"
                )
        switches = [backend().set_test(program) for program in programs]
        pairs = list(average.shadow_of.items())
        kept = None
        try:
            if exchange:
                scope.exchange(where, pairs)
            else:
                kept = scope.replace_with_copies(where, pairs)
        except (KeyError, ValueError) as error:
            _reset(switches)
            raise AverageError(f"the average {average.name!r} does not fit the current scope: {error}") from error
        applied = cls(where, average, kept, switches)
        _IN_PROGRESS.add(applied)
        return applied

    def undo(self) -> None:
        """Put the raw weights and the switches back."""
        if self._kept is None:
            scope.exchange(self._scope, self._average.shadow_of.items())
        else:
            scope.give_back(self._scope, self._kept)
        _IN_PROGRESS.discard(self)
        _reset(self._switches)

    def aside(self, name: str) -> np.ndarray | None:
        """A copy of what variable `name` would hold were the average not applied; None where that is what it holds.

        Once training has gone on from copies of the average, the weights are what it made of them.
        """
        if self._kept is None:
            traded = self._average.shadow_of | {shadow: name for name, shadow in self._average.shadow_of.items()}
            return scope.get(self._scope, traded[name]) if name in traded else None
        unchanged = updates(self._scope, self._average) == self._count
        return np.array(self._kept[name]) if unchanged and name in self._kept else None

    def check(self) -> None:
        """After `undo`: raise AverageError when the train program ran while the weights and the average had traded places."""
        if self._kept is None and updates(self._scope, self._average) != self._count:
            raise AverageError(
                f"the train program ran while the average {self._average.name!r} was applied: it trained the average, and "
                "averaged into the raw weights; go back to a checkpoint, and use apply(executor, need_restore=False) to train "
                "from the average"
            )


def in_progress(where: Any) -> list[Applied]:
    """Those of the scope `where`."""
    return [each for each in _IN_PROGRESS if each._scope is where]


def _reset(switches: Sequence[TestSwitches]) -> None:
    # In reverse, since a program given twice was in test mode already at its second turn.
    for each in reversed(switches):
        backend().reset_test(each)


def updates(where: Any, average: Average) -> int:
    """The number of optimizer steps that `average` has seen in the scope `where`."""
    return int(scope.get(where, average.count))


def check_started(where: Any, average: Average) -> None:
    """Raise AverageError unless the scope `where` holds weights and average, after one step at least."""
    absent = scope.missing(where, [*average.shadow_of, *average.state_names])
    if absent:
        raise AverageError(
            f"the current scope lacks {absent[0]!r}: run the startup program in it first, after update(), and apply "
            "under the same paddle.static.scope_guard as training"
        )
    if updates(where, average) == 0:
        raise AverageError(f"the average {average.name!r} has seen no update yet: run the train program first")
