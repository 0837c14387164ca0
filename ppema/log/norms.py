"""Measures the norms of one step: of its gradient, of the weights, and of their change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ppema.ir import scope
from ppema.passes.norm_state import GradientNorm
from ppema.programs.build import Programs

# Numbers that are converted to float64 together. A block stays in the cache, and is too small for the threads of numpy's BLAS,
# which cost 30 times as much beside Paddle's.
_BLOCK = 1 << 13


class Norms:
    """Measures the norms of chosen steps, between `begin` and `end`. It changes no weight.

    In between, it holds a copy of all weights that the step trains.
    """

    def __init__(self, programs: Programs, where: Any):
        """programs: of a run with `train.log_norms`; where: their scope."""
        self._programs, self._scope = programs, where
        self._measured = _norm_of(programs)
        self._before: dict[str, np.ndarray] = {}

    def begin(self, step: int) -> None:
        """Call it before the step after `step` steps, or before each of its micro-batches: weights change with the last one."""
        if self._before:
            return
        self._measured = _norm_of(self._programs.at(step))
        self._before = {name: scope.shared(self._scope, name).copy() for name in self._measured.variables}
        self._due(True)

    def end(self, *, skipped: bool) -> dict[str, float]:
        """Call it after the step. Returns the norms, which are Euclidean, over all weights that the step trains.

        Returns nothing for a skipped step, and for one without `begin`.

        gradient_norm: of the gradient before clipping; parameter_norm: of the weights after the step; update_norm: of the
        difference of the weights after and before it. Sums are float64.
        """
        copies, self._before = self._before, {}
        self._due(False)
        if skipped or not copies:
            return {}
        weights = updates = 0.0
        for name, before in copies.items():
            of_weights, of_updates = _squares(scope.shared(self._scope, name), before)
            weights, updates = weights + of_weights, updates + of_updates
        gradient = float(scope.get(self._scope, self._measured.value_name))
        return {"gradient_norm": gradient, "parameter_norm": math.sqrt(weights), "update_norm": math.sqrt(updates)}

    def _due(self, value: bool) -> None:
        scope.put(self._scope, {self._measured.due_name: np.array(value)})


def _norm_of(programs: Programs) -> GradientNorm:
    assert programs.gradient_norm is not None, "the programs measure no norm"
    return programs.gradient_norm


def _squares(after: np.ndarray, before: np.ndarray) -> tuple[float, float]:
    """Σ after² and Σ (after - before)², summed in float64. Differences of float32 and half weights are float32."""
    of_after = of_change = 0.0
    after, before = after.reshape(-1), before.reshape(-1)
    exact = np.float64 if after.dtype == np.float64 else np.float32
    for start in range(0, after.size, _BLOCK):
        now, then = (each[start : start + _BLOCK].astype(exact, copy=False) for each in (after, before))
        weights, change = now.astype(np.float64), (now - then).astype(np.float64)
        of_after += float(weights @ weights)
        of_change += float(change @ change)
    return of_after, of_change
