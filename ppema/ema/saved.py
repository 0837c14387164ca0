"""The state of a program for saving: every persistable variable with its raw value, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import paddle

from ppema.ema.applied import Applied, in_progress
from ppema.errors import AverageError
from ppema.ir import Program, backend, scope


def read_state(program: Program | None = None) -> dict[str, np.ndarray]:
    """Copies of all persistable variables of `program` in the current scope, by name. Default: the default main program.

    A weight's name has the raw weight and a shadow's name the average, also while an average is applied. Raises AverageError if
    the scope lacks a variable.
    """
    names = backend().state_names(program or paddle.static.default_main_program())
    return read(paddle.static.global_scope(), names)


def read(where: Any, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Copies of the variables `names` of the scope `where`, as `read_state` gives them."""
    applied, state = in_progress(where), {}
    for name in names:
        aside = _aside(applied, name)
        try:
            state[name] = scope.get(where, name) if aside is None else aside
        except KeyError as error:
            raise AverageError(f"the current scope lacks {error}: run the startup program in it first") from error
    return state


def _aside(applied: Sequence[Applied], name: str) -> np.ndarray | None:
    """The raw value of variable `name` if one of `applied` has replaced it; None if the variable holds it."""
    return next((value for each in applied if (value := each.aside(name)) is not None), None)
