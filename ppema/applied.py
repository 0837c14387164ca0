"""An average that stands in for the weights of a scope, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any
from weakref import WeakSet

import numpy as np

from ppema.errors import AverageError
from ppema.ir import Program, TestSwitches, backend, scope
from ppema.passes.average import Average

# Those in progress, of whatever object: two that share a variable would put each other's average aside as the raw weights.
# Weakly, so that one which nobody can restore any more stands in nobody's way.
_IN_PROGRESS: WeakSet[Applied] = WeakSet()


class Places:
    """Where an average and its weights are in one scope, looked up once for every `apply`.

    exchange: of the weights that can trade places with their shadows; half: the pairs of weight and shadow that can not, being
    of two types.
    """

    def __init__(self, where: Any, average: Average):
        """Raises AverageError where the scope lacks one of them, or holds another's."""
        check_complete(where, average)
        pairs = list(average.shadow_of.items())
        self.scope = where
        self.half = [pair for pair in pairs if scope.dtype(where, pair[0]) != scope.dtype(where, pair[1])]
        self.traded = dict(pair for pair in pairs if pair not in self.half)
        try:
            self.exchange = scope.Exchange(where, self.traded.items())
        except ValueError as error:
            raise _misfit(average, error) from error


class Applied:
    """One `apply` in progress: in which scope, what was put aside, and the test switches as they were."""

    def __init__(self, places: Places, average: Average, exchange: bool, kept: dict[str, Any], switches: list[TestSwitches]):
        self._scope = places.scope
        self._places = places
        self._average = average
        self._exchange = exchange
        self._kept = kept
        self._switches = switches
        self._count = updates(places.scope, average)

    @classmethod
    def start(cls, places: Places, average: Average, programs: Sequence[Program], *, exchange: bool) -> Applied:
        """Let `average` and the weights trade places in the scope of `places`, or with exchange=False give them copies of it.

        A weight of another type than its shadow gets a copy in any case, rounded; with exchange=False so does its master
        weight, from which the next step of training would make it anew. Either all of it happens or none.

        Raises AverageError before the first update, and while another average of the same variables is applied in this scope.
        """
        where = places.scope
        check_updated(where, average)
        for other in in_progress(where):
            if not other._average.shadow_of.keys().isdisjoint(average.shadow_of):
                raise AverageError(
                    f"the average {other._average.name!r} is applied to these variables: restore it before applying "
                    f"{average.name!r}, or the raw weights would be lost"
                )
        switches = [backend().set_test(program) for program in programs]
        copied = places.half
        if not exchange:
            masters = ((master, average.shadow_of[name]) for name, master in average.master_of.items())
            copied = [*average.shadow_of.items(), *masters]
        kept = {}
        try:
            kept = scope.replace_with_copies(where, copied)
            if exchange:
                places.exchange.check()
                places.exchange.trade()
        except (KeyError, ValueError) as error:
            scope.give_back(where, kept)
            _reset(switches)
            raise _misfit(average, error) from error
        applied = cls(places, average, exchange, kept, switches)
        _IN_PROGRESS.add(applied)
        return applied

    @property
    def name(self) -> str:
        """The average's."""
        return self._average.name

    def undo(self) -> None:
        """Put the raw weights and the switches back."""
        if self._exchange:
            self._places.exchange.trade()
        scope.give_back(self._scope, self._kept)
        _IN_PROGRESS.discard(self)
        _reset(self._switches)

    def aside(self, name: str) -> np.ndarray | None:
        """A copy of what variable `name` would hold were the average not applied; None where that is what it holds.

        Once training has gone on from copies of the average, the weights are what it made of them.
        """
        if name in self._kept:
            unchanged = self._exchange or updates(self._scope, self._average) == self._count
            return np.array(self._kept[name]) if unchanged else None
        return scope.get(self._scope, self._elsewhere[name]) if name in self._elsewhere else None

    @cached_property
    def _elsewhere(self) -> dict[str, str]:
        """Where the value of each variable that traded places is meanwhile."""
        traded = self._places.traded if self._exchange else {}
        return traded | {shadow: weight for weight, shadow in traded.items()}

    def check(self) -> None:
        """After `undo`: raise AverageError when the train program ran while the weights and the average had traded places."""
        if self._exchange and updates(self._scope, self._average) != self._count:
            raise AverageError(
                f"the train program ran while the average {self._average.name!r} was applied: it trained the average, and "
                "averaged into the raw weights; go back to a checkpoint, and use apply(executor, need_restore=False) to train "
                "from the average"
            )


def in_progress(where: Any) -> list[Applied]:
    """Those of the scope `where`."""
    return [each for each in _IN_PROGRESS if each._scope is where]


def _misfit(average: Average, error: Exception) -> AverageError:
    return AverageError(f"the average {average.name!r} does not fit the current scope: {error}")


def _reset(switches: Sequence[TestSwitches]) -> None:
    # In reverse, since a program given twice was in test mode already at its second turn.
    for each in reversed(switches):
        backend().reset_test(each)


def updates(where: Any, average: Average) -> int:
    """The number of optimizer steps that `average` has seen in the scope `where`."""
    return int(scope.get(where, average.count))


def check_started(where: Any, average: Average) -> None:
    """Raise AverageError unless the scope `where` holds weights and average, after one step at least."""
    check_complete(where, average)
    check_updated(where, average)


def check_complete(where: Any, average: Average) -> None:
    """Raise AverageError unless the scope `where` holds weights and average."""
    absent = scope.missing(where, [*average.shadow_of, *average.state_names, *average.master_of.values()])
    if absent:
        raise AverageError(
            f"the current scope lacks {absent[0]!r}: run the startup program in it first, after update(), and apply "
            "under the same paddle.static.scope_guard as training"
        )


def check_updated(where: Any, average: Average) -> None:
    """Raise AverageError before the first update of `average` in the scope `where`."""
    if updates(where, average) == 0:
        raise AverageError(f"the average {average.name!r} has seen no update yet: run the train program first")
