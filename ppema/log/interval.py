"""The steps since the last log line."""

from __future__ import annotations

import time

from ppema.checkpoint.state import Losses


class Interval:
    """The losses of those that were not skipped; samples per second without the time for evaluation and saving."""

    def __init__(self, losses: Losses | None = None) -> None:
        """losses: of the first part of an interval that a checkpoint cut in two; its rate is that of the second."""
        self.losses = Losses() if losses is None else losses
        self._samples = 0
        self._seconds = 0.0
        self.resume()

    def resume(self) -> None:
        """Let the time since the last step not count."""
        self._mark = time.perf_counter()

    def add(self, loss: float | None, samples: int) -> None:
        """One more step, on `samples` samples; loss: None where it was skipped."""
        if loss is not None:
            self.losses = self.losses.plus(loss)
        self._samples += samples
        self._seconds += time.perf_counter() - self._mark

    @property
    def rate(self) -> float:
        return self._samples / max(self._seconds, 1e-9)
