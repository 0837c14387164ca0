"""`Applied`: an average in place of the weights of a scope, and how the weights come back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import numpy as np

from ppema.errors import AverageError
from ppema.ir import Program, TestSwitches, backend, scope
from ppema.passes.average import Average

# All applied averages of this process: if two shared a variable, the second would keep the first's average as raw weights.
# The references are weak: an average that nobody can restore any more does not block others.
_IN_PROGRESS: WeakSet[Applied] = WeakSet()


class Places:
    """The variables of an average and its weights in one scope, for any number of applications.

    loan: lends the shadows' memory to the weights of the same type. half: the (weight, shadow) pairs of different types, whose
    weight gets a rounded copy.
    """

    def __init__(self, where: Any, average: Average):
        """Raises AverageError if the scope lacks a weight or a shadow."""
        check_complete(where, average)
        pairs = list(average.shadow_of.items())
        self.scope = where
        self.half = [pair for pair in pairs if scope.dtype(where, pair[0]) != scope.dtype(where, pair[1])]
        self.loan = scope.Loan(where, (pair for pair in pairs if pair not in self.half))


class Applied:
    """One application of an average: `start` puts it in place of the weights, and `undo` restores them.

    After an interrupt (Ctrl-C) at any point of either, `undo` can still restore every weight.
    """

    def __init__(self, places: Places, average: Average, programs: Sequence[Program], *, lend: bool):
        """Prepare the application in the scope of `places`. Nothing changes before `start`.

        programs: test programs that are in test mode meanwhile.
        lend: the weights get the shadows' own memory; False: they get copies. A weight whose type differs from its shadow's
        gets a rounded copy either way. With lend=False its master weight gets a copy too, since the next training step computes
        the weight from it.

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
        """Raises AverageError if the scope lacks a variable or one does not fit. Call `undo` then too."""
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
        """The name of the average."""
        return self._average.name

    def undo(self) -> None:
        """Restore the raw weights and the `is_test` switches that `start` changed. It may be called again.

        Raises AverageError if the scope now lacks a variable.
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
        # In reverse order: a program given twice was already in test mode at its second turn.
        for each in reversed(self._switches):
            backend().reset_test(each)

    def aside(self, name: str) -> np.ndarray | None:
        """A copy of the raw value of variable `name`; None if the variable holds its raw value itself.

        After further training from copies of the average, the trained weights count as the raw ones.
        """
        if not self._lends and updates(self._scope, self._average) != self._count:
            return None
        for each in self._substitutes:
            with suppress(KeyError):
                return each.own(name)
        return None

    def check(self) -> None:
        """Call it after `undo`. Raises AverageError if the train program ran while the weights shared the shadows' memory."""
        if self._lends and updates(self._scope, self._average) != self._count:
            raise AverageError(
                f"the train program, or its startup program, ran while the average {self.name!r} was applied: it changed the "
                "average in place of the weights, which are as they were before; go back to a checkpoint, and use "
                "apply(executor, need_restore=False) to train from the average"
            )


def in_progress(where: Any) -> list[Applied]:
    """The averages that are applied in the scope `where`."""
    return [each for each in _IN_PROGRESS if each._scope is where]


def updates(where: Any, average: Average) -> int:
    """The number of optimizer steps that `average` has seen in the scope `where`."""
    return int(scope.get(where, average.count))


def as_measured(where: Any, average: Average) -> tuple[Any, ...]:
    """A key that identifies the measured statistics of `average`: the scope `where`, the number of updates, and their values.

    The values belong to the key because a startup program or a checkpoint may reproduce the number of updates with other
    statistics. Raises AverageError if the scope lacks a statistic.
    """
    shadows = [average.shadow_of[name] for name in average.recalibrated]
    check_complete(where, average, average.count, *shadows)
    return (where, updates(where, average), *(scope.get(where, shadow).tobytes() for shadow in shadows))


def check_started(where: Any, average: Average) -> None:
    """Raise AverageError unless the scope `where` holds the weights and the average, after at least one step."""
    check_complete(where, average)
    check_updated(where, average)


def check_complete(where: Any, average: Average, *names: str) -> None:
    """Raise AverageError unless the scope `where` holds the variables `names`; default: all weights and the whole average."""
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
