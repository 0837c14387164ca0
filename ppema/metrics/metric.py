"""`Metric`, a figure of a whole set from statistics of its batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppema.ir import Variable


@dataclass(frozen=True)
class Counts:
    """Counts of a batch, which are added over the batches: exact, and equal for any batch size.

    value: integers, of a known shape, which is the same for all batches.
    """

    value: Variable


@dataclass(frozen=True)
class Kept:
    """Values of each sample, which are kept until the end of the set, in the order of its samples.

    They take memory: 4 bytes for each sample and float32 value. value: [N, …].
    """

    value: Variable


@dataclass(frozen=True)
class Weights(Kept):
    """Kept weights of `Weighted` values, which must be finite and at least 0. value: [N]."""


@dataclass(frozen=True)
class BatchMean:
    """One number that is a mean over the samples of a batch. It is kept once for each of them."""

    value: Variable


Statistic = Counts | Kept | BatchMean
Resampled = np.ndarray | dict[str, np.ndarray]  # a figure of each resample, or several by name


class Metric(ABC):
    """A figure of a whole set. A config's `args` are the arguments of the constructor.

    An instance serves several programs and sets, so that its methods must not change it.
    """

    @abstractmethod
    def statistics(self, predictions: Any, targets: Any) -> Mapping[str, Statistic]:
        """Build the statistics of a batch in the default main program, under names of their own.

        predictions, targets: a variable [N, …]; or a mapping of variables by name, if the config chooses several.
        """

    @abstractmethod
    def result(self, found: Mapping[str, np.ndarray]) -> float | np.ndarray | Mapping[str, float | np.ndarray]:
        """The figures of a set. A mapping gives several, which are named `metric.part`; the part "" is named `metric`.

        found: for each statistic the sum of its batches (Counts: int64), or the values of all samples ([samples, …]). It is
        called for any set, also for a single sample: an undefined figure is NaN. An array, such as a confusion matrix, is
        written to metrics.jsonl as a list, and can not be monitored.
        """

    def of_resamples(self, kept: Mapping[str, np.ndarray], times: np.ndarray) -> Resampled | None:
        """The figures of R resamples at once, for intervals: [R] each. None: `result` is called for each resample.

        kept: the values of all samples, for a metric without Counts. times: float64 [R, samples], whole numbers: how often a
        resample has each sample.
        """
        return None
