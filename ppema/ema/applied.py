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
    """One `apply` of an average: `start` puts it in place of the weights, and `undo` brings them back.

    An interrupt (Ctrl-C) at any point of either leaves `undo` able to bring back whatever was put aside.
    """

    def __init__(self, places: Places, average: Average, programs: Sequence[Program], *, lend: bool):
        """In the scope of `places`: the average's own memory, or with lend=False copies of it.

        A weight of another type than its shadow gets a copy in any case, rounded; with lend=False so does its master weight,
        from which the next step of training would make it anew. `programs` are in test mode meanwhile.

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
        self._scope = where
        self._average = average
        self._lends = lend
        self._substitutes = (scope.Copies(where, copied), *((places.loan,) if lend else ()))
        self._programs = programs
        self._switches: list[TestSwitches] = []
        self._count = updates(where, average)
        self.complete = False  # whether `start` has ended

    def start(self) -> None:
        """Raises AverageError where the scope lacks a variable, or one does not fit; `undo` then undoes what it did."""
        _IN_PROGRESS.add(self)
        for program in self._programs:
            self._switches.append(backend().set_test(program))
        try:
            for each in self._substitutes:
                each.start()
        except KeyError as error:
            raise _lacks(error.args[0]) from error
        except ValueError as error:
            raise AverageError(f"the average {self.name!r} does not fit the current scope: {error}") from error
        self.complete = True

    @property
    def name(self) -> str:
        """The average's."""
        return self._average.name

    def undo(self) -> None:
        """Put the raw weights and the switches back, whatever of them `start` changed; it may be called again.

        Raises AverageError where the scope lacks a variable by now.
        """
        try:
            for each in self._substitutes:
                each.stop()
        except KeyError as error:
            raise AverageError(
                f"the scope lacks {error} since the average {self.name!r} was applied: run the startup program, then "
                "restore(executor)"
            ) from error
        _IN_PROGRESS.discard(self)
        # In reverse, since a program given twice was in test mode already at its second turn.
        for each in reversed(self._switches):
            backend().reset_test(each)

    def aside(self, name: str) -> np.ndarray | None:
        """A copy of what variable `name` would hold were the average not applied; None where that is what it holds.

        Once training has gone on from copies of the average, the weights are what it made of them.
        """
        if not self._lends and updates(self._scope, self._average) != self._count:
            return None
        for each in self._substitutes:
            with suppress(KeyError):
                return each.own(name)
        return None

    def check(self) -> None:
        """After `undo`: raise AverageError when the train program ran while the weights had the memory of the average."""
        if self._lends and updates(self._scope, self._average) != self._count:
            raise AverageError(
                f"the train program, or its startup program, ran while the average {self.name!r} was applied: it changed the "
                "average in place of the weights, which are as they were before; go back to a checkpoint, and use "
                "apply(executor, need_restore=False) to train from the average"
            )


def in_progress(where: Any) -> list[Applied]:
    """Those of the scope `where`."""
    return [each for each in _IN_PROGRESS if each._scope is where]


def updates(where: Any, average: Average) -> int:
    """The number of optimizer steps that `average` has seen in the scope `where`."""
    return int(scope.get(where, average.count))


def as_measured(where: Any, average: Average) -> tuple[Any, ...]:
    """By what statistics that were measured for `average` are known again: the scope `where`, the updates, and their values.

    After a startup program, or with a checkpoint, the number of updates may be the same, but the values are others. Raises
    AverageError where the scope lacks one of them.
    """
    shadows = [average.shadow_of[name] for name in average.recalibrated]
    check_complete(where, average, average.count, *shadows)
    return (where, updates(where, average), *(scope.get(where, shadow).tobytes() for shadow in shadows))


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
