"""How well an average is: its window, its distance from the weights, and what float32 loses of its updates."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ppema.averaging.precision import widened

# Numbers taken at a time: what is computed from them stays in the processor's cache.
_CHUNK = 8192


@dataclass(frozen=True)
class Reading:
    """The health of one average after a step.

    decay: of the last update, 0 before the first. window: the effective window in steps, None before the average begins.
    distance: ‖θ - s‖/‖θ‖ over what it covers, None where ‖θ‖ is 0. stalled: of the numbers that differ from their weight, the
    share in [0, 1] that float32 would keep from moving at the next update. groups: the distance by layer group.
    """

    decay: float
    window: float | None
    distance: float | None
    stalled: float
    groups: dict[str, float | None]


def window(every: int, weight: float, decay: float) -> float:
    """k·W_t/(1 - d_t) = k/α_t: the number of steps of which the newest have the share k/window in the average.

    every: k, the steps from one update to the next; weight: W_t, or 1 for what the window would be in a run long enough;
    decay: d_t, over k steps. Infinite where float64 does not tell the decay from 1.
    """
    return every * weight / (1 - decay) if decay < 1 else math.inf


@dataclass(frozen=True)
class Tally:
    """Over pairs of numbers: Σ(θ - s)² and Σθ², how many differ, and how many of those float32 keeps from moving."""

    difference: float = 0.0
    norm: float = 0.0
    differing: int = 0
    kept: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.difference + other.difference,
            self.norm + other.norm,
            self.differing + other.differing,
            self.kept + other.kept,
        )

    @property
    def distance(self) -> float | None:
        """‖θ - s‖/‖θ‖, None where ‖θ‖ is 0."""
        return math.sqrt(self.difference / self.norm) if self.norm else None

    @property
    def stalled(self) -> float:
        """The share of the differing numbers that the next update leaves as they are; 0 where none differ."""
        return self.kept / self.differing if self.differing else 0.0


def tally(theta: np.ndarray, shadow: np.ndarray, alpha: float | None) -> Tally:
    """Compare the weights `theta` with their average `shadow`, of one shape; `theta` may be of a half type.

    alpha: α of the next update; a number is kept where s + α·(θ - s), as the update computes it in s's type, is s. None for
    an update that loses nothing: no number counts as kept. Sums are float64.
    """
    theta, shadow = widened(theta).reshape(-1), shadow.reshape(-1)
    difference = norm = 0.0
    differing = kept = 0
    # Finite numbers that are far apart overflow in float32.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, theta.size, _CHUNK):
            t, s = theta[start : start + _CHUNK], shadow[start : start + _CHUNK]
            gap = t - s
            apart = int(np.count_nonzero(gap))
            differing += apart
            if alpha is not None:
                kept += apart - int(np.count_nonzero(s + s.dtype.type(alpha) * gap != s))
            difference += _square_sum(gap)
            norm += _square_sum(t)
    return Tally(difference, norm, differing, kept)


def _square_sum(values: np.ndarray) -> float:
    wide = values.astype(np.float64)
    return float(wide @ wide)


def layer_groups(places: Collection[str]) -> dict[str, str]:
    """The layer group of each place in a model ("backbone.0.weight").

    It is the first component, or as many as it takes for there to be more than one group, if there can be.
    """
    depth = 1
    while True:
        found = {place: ".".join(place.split(".")[:depth]) for place in places}
        if len(set(found.values())) > 1 or all(group == place for place, group in found.items()):
            return found
        depth += 1
