"""`Plain` runs one program many times with Paddle's `exe.run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppema.ir.base import Program, Variable


class Plain:
    """The Protocol of `base.Runner` by `exe.run`, in the scope that is current at each run."""

    def __init__(self, executor: Any, program: Program, fetch: Sequence[Variable]):
        self._executor = executor
        self._program = program
        self._fetch = list(fetch)

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return self._executor.run(self._program, feed=dict(feed), fetch_list=self._fetch)
