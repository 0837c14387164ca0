"""The steps since the last log line."""

from __future__ import annotations

import math
import time

from ppema.checkpoint.manifest import SavedInterval


class Interval:
    """The mean loss of those that were not skipped, NaN where all were; samples per second without the time for evaluation and
    saving.
    """

    def __init__(self, saved: SavedInterval | None = None) -> None:
        """saved: the first part of an interval that a checkpoint cut in two; its rate is that of the second."""
        self._steps, self._loss = (saved.steps, saved.loss) if saved else (0, 0.0)
        self._samples = 0
        self._seconds = 0.0
        self.resume()

    def resume(self) -> None:
        """Let the time since the last step not count."""
        self._mark = time.perf_counter()

    def add(self, loss: float | None, samples: int) -> None:
        """One more step, on `samples` samples; loss: None where it was skipped."""
        if loss is not None:
            self._steps += 1
            self._loss += loss
        self._samples += samples
        self._seconds += time.perf_counter() - self._mark

    @property
    def loss(self) -> float:
        return self._loss / self._steps if self._steps else math.nan

    @property
    def rate(self) -> float:
        return self._samples / max(self._seconds, 1e-9)

    @property
    def saved(self) -> SavedInterval:
        """What a checkpoint keeps of it."""
        return SavedInterval(steps=self._steps, loss=self._loss)
