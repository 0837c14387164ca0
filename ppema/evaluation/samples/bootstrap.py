"""The bootstrap over the samples of an evaluation (Efron & Tibshirani 1993, An Introduction to the Bootstrap).

A resample draws as many samples as there are, with replacement. All figures are computed on the same resamples, so that the
difference of two figures is paired: what makes a sample hard for both cancels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
_NUMBERS = 2**22  # of a chunk: 32 MiB


@dataclass(frozen=True)
class SampleInterval:
    """The percentile interval of a figure (chapter 13). low, high: its ends."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two figures on the same samples, with its percentile interval.

    wrong: the share of resamples, in [0, 1], with a difference of 0 or of the other sign than `value`.
    """

    value: float
    low: float
    high: float
    wrong: float


def drawn(samples: int, resamples: int = RESAMPLES, seed: int = 0, *, width: int = 1) -> Iterator[np.ndarray]:
    """How often each resample has each sample: float64 [R, samples], in chunks of all `resamples`. A pure function of these.

    width: numbers of a sample that its user holds for each resample; it makes chunks smaller, and changes nothing else.
    """
    generator = np.random.default_rng([seed, samples])
    rows = max(1, min(resamples, _NUMBERS // max(1, samples * width)))
    for start in range(0, resamples, rows):
        chunk = np.empty((min(rows, resamples - start), samples))
        for row in chunk:
            row[:] = np.bincount(generator.integers(0, samples, samples), minlength=samples)
        yield chunk


def interval(value: float, replicates: np.ndarray, level: float = LEVEL) -> SampleInterval:
    """The percentile interval of a figure. replicates: its values on the resamples, [R]."""
    low, high = _ends(replicates, level)
    return SampleInterval(value, low, high)


def paired(value: float, replicates: np.ndarray, level: float = LEVEL) -> PairedDifference:
    """The percentile interval of a difference. replicates: of its two figures on the same resamples, their differences, [R]."""
    low, high = _ends(replicates, level)
    rounding = 1e-12 * np.abs(replicates).max(initial=0.0)
    return PairedDifference(value, low, high, float(np.mean(replicates * np.sign(value) <= rounding)))


def over_seeds(replicates: np.ndarray, seed: int = 0) -> np.ndarray:
    """The mean over runs, each time over runs drawn with replacement: [R]. For intervals over samples and seeds of training.

    replicates: of one figure of S runs with other seeds, on the same resamples, [S, R].
    """
    runs, resamples = replicates.shape
    chosen = np.random.default_rng([seed, runs]).integers(0, runs, (runs, resamples))
    return np.take_along_axis(replicates, chosen, axis=0).mean(axis=0)


def _ends(replicates: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
