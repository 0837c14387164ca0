"""The bootstrap over the samples of an evaluation (Efron & Tibshirani 1993, An Introduction to the Bootstrap).

A resample draws as many samples as there are, with replacement. All figures are computed on the same resamples, so that the
difference of two figures is paired: what makes a sample hard for both cancels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
_NUMBERS = 2**22  # of a chunk: 32 MiB


@dataclass(frozen=True)
class SampleInterval:
    """An interval of a figure, or of a difference. low, high: its ends."""

    value: float
    low: float
    high: float


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


def interval(value: float, replicates: np.ndarray, level: float = LEVEL) -> SampleInterval | None:
    """The percentile interval of a figure (chapter 13); None if it is the same in all resamples.

    replicates: its values on the resamples, [R]; for a difference, those of its two figures on the same resamples.
    """
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return None if is_constant(replicates) else SampleInterval(value, float(low), float(high))


def is_constant(replicates: np.ndarray) -> bool:
    """Whether all of them are the same, up to rounding."""
    return bool(np.ptp(replicates) <= 1e-12 * np.abs(replicates).max(initial=0.0))


def over_both(over_samples: SampleInterval, runs: Sequence[float], level: float = LEVEL) -> SampleInterval:
    """The interval over samples and seeds of the mean of S runs: each half is √(a² + b²).

    a: the half of the interval over samples; b: of Student's interval over runs, t·s/√S with S - 1 degrees of freedom. Zou &
    Donner 2008 (MOVER). The coverage is at least `level`, as s has the noise of the samples of one run, too.
    runs: the figure of each run, S ≥ 2 of them.
    """
    from scipy.special import stdtrit

    value = over_samples.value
    seeds = float(stdtrit(len(runs) - 1, (1 + level) / 2)) * float(np.std(runs, ddof=1)) / math.sqrt(len(runs))
    low, high = (math.hypot(seeds, end - value) for end in (over_samples.low, over_samples.high))
    return SampleInterval(value, value - low, value + high)
