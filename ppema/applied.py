"""An average that stands in for the weights of a scope, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
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
    """Where an average and its weights are in one scope.

    loan: of the shadows' memory to the weights of their type; half: the pairs of weight and shadow of two types, where the
    weight gets a rounded copy.
    """

    def __init__(self, where: Any, average: Average):
        """Raises AverageError where the scope lacks one of them."""
        check_complete(where, average)
        pairs = list(average.shadow_of.items())
        self.scope = where
        self.half = [pair for pair in pairs if scope.dtype(where, pair[0]) != scope.dtype(where, pair[1])]
        self.loan = scope.Loan(where, (pair for pair in pairs if pair not in self.half))


class Applied:
    """One `apply` in progress: in which scope, what was put aside, and the test switches as they were."""

    def __init__(
        self, where: Any, average: Average, loan: scope.Loan | None, kept: dict[str, Any], switches: list[TestSwitches]
    ):
        self._scope = where
        self._average = average
        self._loan = loan
        self._kept = kept
        self._switches = switches
        self._count = updates(where, average)

    @classmethod
    def start(cls, places: Places, average: Average, programs: Sequence[Program], *, lend: bool) -> Applied:
        """Put `average` in place of the weights in the scope of `places`: its own memory, or with lend=False copies of it.

        A weight of another type than its shadow gets a copy in any case, rounded; with lend=False so does its master weight,
        from which the next step of training would make it anew. Either all of it happens or none.

        Raises AverageError before the first update, and while another average of the same variables is applied in this scope.
        """
        where = places.scope
        check_complete(where, average, average.count)
        check_updated(where, average)
        for other in in_progress(where):
            if not other._average.shadow_of.keys().isdisjoint(average.shadow_of):
                raise AverageError(
                    f"the average {other._average.name!r} is applied to these variables: restore it before applying "
                    f"{average.name!r}, or the raw weights would be lost"
                )
        copied = places.half
        if not lend:
            masters = ((master, average.shadow_of[name]) for name, master in average.master_of.items())
            copied = [*average.shadow_of.items(), *masters]
        kept: dict[str, Any] = {}
        switches: list[TestSwitches] = []
        try:
            for program in programs:
                switches.append(backend().set_test(program))
            kept = scope.replace_with_copies(where, copied)
            if lend:
                places.loan.start()
        except BaseException as error:
            scope.give_back(where, kept)
            _reset(switches)
            if isinstance(error, KeyError):
                raise _lacks(error.args[0]) from error
            if isinstance(error, ValueError):
                raise AverageError(f"the average {average.name!r} does not fit the current scope: {error}") from error
            raise
        applied = cls(where, average, places.loan if lend else None, kept, switches)
        _IN_PROGRESS.add(applied)
        return applied

    @property
    def name(self) -> str:
        """The average's."""
        return self._average.name

    def undo(self) -> None:
        """Put the raw weights and the switches back.

        Raises AverageError where the scope lacks a variable by now; it may be called again.
        """
        try:
            if self._loan is not None:
                self._loan.stop()
            scope.give_back(self._scope, self._kept)
        except KeyError as error:
            raise AverageError(
                f"the scope lacks {error} since the average {self.name!r} was applied: run the startup program, then "
                "restore(executor)"
            ) from error
        _IN_PROGRESS.discard(self)
        _reset(self._switches)

    def aside(self, name: str) -> np.ndarray | None:
        """A copy of what variable `name` would hold were the average not applied; None where that is what it holds.

        Once training has gone on from copies of the average, the weights are what it made of them.
        """
        with suppress(KeyError):
            if self._loan is not None:
                return self._loan.own(name)
        unchanged = self._loan is not None or updates(self._scope, self._average) == self._count
        return np.array(self._kept[name]) if name in self._kept and unchanged else None

    def check(self) -> None:
        """After `undo`: raise AverageError when the train program ran while the weights had the memory of the average."""
        if self._loan is not None and updates(self._scope, self._average) != self._count:
            raise AverageError(
                f"the train program, or its startup program, ran while the average {self.name!r} was applied: it changed the "
                "average in place of the weights, which are as they were before; go back to a checkpoint, and use "
                "apply(executor, need_restore=False) to train from the average"
            )


def _reset(switches: Sequence[TestSwitches]) -> None:
    # In reverse, since a program given twice was in test mode already at its second turn.
    for each in reversed(switches):
        backend().reset_test(each)


def in_progress(where: Any) -> list[Applied]:
    """Those of the scope `where`."""
    return [each for each in _IN_PROGRESS if each._scope is where]


def updates(where: Any, average: Average) -> int:
    """The number of optimizer steps that `average` has seen in the scope `where`."""
    return int(scope.get(where, average.count))


def check_started(where: Any, average: Average) -> None:
    """Raise AverageError unless the scope `where` holds weights and average, after one step at least."""
    check_complete(where, average)
    check_updated(where, average)


def check_complete(where: Any, average: Average, *names: str) -> None:
    """Raise AverageError unless the scope `where` holds weights and average; of these only `names` where given."""
    absent = scope.missing(where, names or [*average.shadow_of, *average.state_names, *average.master_of.values()])
    if absent:
        raise _lacks(absent[0])


def check_updated(where: Any, average: Average) -> None:
    """Raise AverageError before the first update of `average` in the scope `where`."""
    if updates(where, average) == 0:
        raise AverageError(f"the average {average.name!r} has seen no update yet: run the train program first")


def _lacks(name: str) -> AverageError:
    return AverageError(
        f"the current scope lacks {name!r}: run the startup program in it first, after update(), and apply under the same "
        "paddle.static.scope_guard as training"
    )
