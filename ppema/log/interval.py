"""Sums losses and times over the steps since the last log line."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ppema.checkpoint.state import Losses


class TrainingTime:
    """The time of a run's steps so far, without that for evaluation and saving, in all of its processes.

    seconds: NaN if it is unknown, because an earlier version began the run, or because another run did.
    """

    def __init__(self, seconds: float = 0.0):
        self.seconds = seconds


class Interval:
    """The losses of the steps that were not skipped, and times without those for evaluation and saving."""

    def __init__(self, losses: Losses | None = None, total: TrainingTime | None = None) -> None:
        """losses: those before the checkpoint, if a resumed run continues an interval. The rate covers later steps only.

        total: gets the times of the steps too.
        """
        self.losses = Losses() if losses is None else losses
        self._total = TrainingTime() if total is None else total
        self._samples = 0
        self._seconds = 0.0
        self._waited = 0.0
        self.resume()

    def resume(self) -> None:
        """Exclude the time since the last step."""
        self._mark = time.perf_counter()

    def arrived(self) -> None:
        """Count the time since the last step as a wait for data. Call it when the batch is there."""
        self._waited += time.perf_counter() - self._mark

    def add(self, loss: float | None, samples: int, parts: Mapping[str, float] | None = None) -> None:
        """Count a step on `samples` samples. loss: None if the step was skipped; parts: of the loss by name."""
        if loss is not None:
            self.losses = self.losses.plus(loss, parts)
        self._count(samples)

    def ran(self, samples: int) -> None:
        """Count a micro-batch of `samples` samples that ends no step."""
        self._count(samples)
        self.resume()

    def _count(self, samples: int) -> None:
        seconds = time.perf_counter() - self._mark
        self._samples += samples
        self._seconds += seconds
        self._total.seconds += seconds

    @property
    def rate(self) -> float:
        """Samples per second."""
        return self._samples / max(self._seconds, 1e-9)

    @property
    def data_wait(self) -> float:
        """The share of the time that the loop waited for data, in [0, 1]."""
        return self._waited / max(self._seconds, 1e-9)
