"""How an average begins in a scope: with the startup program, or with the average of an earlier program."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import paddle

from ppema.ir import Program, backend, scope
from ppema.passes.average import Average, shadow_name

_NAMES: set[str] = set()  # of the averages that were appended in this process


class Beginning:
    """Detects an average that its startup program does not initialise.

    A mark, a variable that only the startup program fills, shows whether that has run since the average was appended.
    """

    def __init__(self, main: Program, startup: Program, average: Average):
        """Warns if a run of the train program `main` would not find the average, after `startup` or without it."""
        self._average = average
        self._mark = f"{average.count}.begun"
        backend().create_state(paddle.static.Program(), startup, self._mark, [], "bool", 1)
        where = paddle.static.global_scope()
        self._earlier: tuple[Any, int] | None = None  # the scope that had the average before, and its number of updates
        if not scope.missing(where, average.state_names):
            self._earlier = where, int(scope.get(where, average.count))
            scope.create(where, self._mark, np.array(False))
        _warn_of_startup(main, startup, average, where)
        _NAMES.add(average.name)

    def check(self, where: Any) -> None:
        """Warn, once, if the average in the scope `where` continues from updates by an earlier program."""
        scope_of_earlier, updates = self._earlier or (None, 0)
        if scope_of_earlier is not where:
            return
        self._earlier = None
        if updates and not scope.get(where, self._mark):
            warnings.warn(
                f"the average {self._average.name!r} goes on from {updates} updates that an earlier program made in this "
                "scope, as the startup program has not run since update(): run it after update() to begin anew",
                stacklevel=5,
            )


def _warn_of_startup(main: Program, startup: Program, average: Average, where: Any) -> None:
    weights = list(average.shadow_of)
    started = not scope.missing(where, weights)
    if set(weights).isdisjoint(backend().initialised(startup)):
        if not started:
            warnings.warn(
                "the default startup program fills none of the weights, and the averages' initial values went there: run "
                "it too, or call update() under paddle.static.program_guard(main, startup) with the model's own",
                stacklevel=5,
            )
    elif started and scope.missing(where, average.state_names) and not _weights_are_anothers(main, average, where):
        warnings.warn(
            f"the current scope has the weights, but not the average {average.name!r}: if the startup program has "
            "run, run it again after update(), or append the average with a new one: with "
            "paddle.static.program_guard(main, new): ema.update(); executor.run(new)",
            stacklevel=5,
        )


def _weights_are_anothers(main: Program, average: Average, where: Any) -> bool:
    """Whether the scope `where` has an average of these weights that does not belong to `main`.

    The weights are then those of an earlier program, as in a loop over decays. They do not show that the startup program ran.
    """
    shadows = {shadow_name(weight, name) for weight in average.shadow_of for name in _NAMES}
    others = shadows.difference(backend().state_names(main))
    return len(scope.missing(where, others)) < len(others)
