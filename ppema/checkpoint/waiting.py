"""How long a monitored metric has not improved."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pydantic import FiniteFloat, NonNegativeInt

from ppema.checkpoint.best import Mode, wants_less


@dataclass(frozen=True)
class Waiting:
    """The last improvement of a monitored metric, and the evaluations since.

    monitor: "<weights>/<metric>"; value: of the metric at the last improvement, None if it was never finite; step: of that
    improvement. evaluations: those without improvement since step `begin`, the last one after step `seen`.
    """

    monitor: str
    value: FiniteFloat | None
    step: NonNegativeInt
    begin: NonNegativeInt
    seen: NonNegativeInt
    evaluations: NonNegativeInt = 0

    def after(self, value: float, step: int, *, mode: Mode | None, min_change: float) -> Waiting:
        """The state after the evaluation after `step`, which measured `value`.

        An improvement is better than the last one by more than `min_change`. A non-finite value is none. mode: as for
        `best.wants_less`.
        """
        if math.isfinite(value) and (self.value is None or self._gain(value, mode) > min_change):
            return Waiting(self.monitor, value, step, step, step)
        return replace(self, seen=step, evaluations=self.evaluations + 1)

    def anew(self) -> Waiting:
        """The state with the same last improvement, and the counting begun anew after the last evaluation."""
        return replace(self, begin=self.seen, evaluations=0)

    def _gain(self, value: float, mode: Mode | None) -> float:
        assert self.value is not None
        return self.value - value if wants_less(self.monitor.partition("/")[2], mode) else value - self.value
