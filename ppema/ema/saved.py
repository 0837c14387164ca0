"""The state of a program as it is saved: every persistable variable, under the name it is trained under."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import paddle

from ppema.ema.applied import Applied, in_progress
from ppema.errors import AverageError
from ppema.ir import Program, backend, scope


def read_state(program: Program | None = None) -> dict[str, np.ndarray]:
    """A copy of the variables of `program` (default: the default main program) in the current scope, by name, for saving.

    Raw weights are raw and averages are averages, also while an average is applied. Raises AverageError where the scope lacks
    a variable.
    """
    names = backend().state_names(program or paddle.static.default_main_program())
    return read(paddle.static.global_scope(), names)


def read(where: Any, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The same for the variables `names` of the scope `where`."""
    applied, state = in_progress(where), {}
    for name in names:
        aside = _aside(applied, name)
        try:
            state[name] = scope.get(where, name) if aside is None else aside
        except KeyError as error:
            raise AverageError(f"the current scope lacks {error}: run the startup program in it first") from error
    return state


def _aside(applied: Sequence[Applied], name: str) -> np.ndarray | None:
    """The variable's own value, while one of `applied` is applied to it; None where it has it."""
    return next((value for each in applied if (value := each.aside(name)) is not None), None)
