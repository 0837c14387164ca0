"""The health of an average: its window, its distance from the weights, and the share of its updates that float32 loses."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ppema.averaging.precision import widened

# Numbers per block: the intermediate results of one block fit into the processor's cache.
_CHUNK = 8192


@dataclass(frozen=True)
class Reading:
    """The health of one average after a step.

    decay: decay of the last update, 0 before the first.
    window: effective window in steps, None before the average begins.
    distance: ‖θ - s‖/‖θ‖ over all averaged numbers, None if ‖θ‖ is 0.
    stalled: share in [0, 1], among the shadow's numbers that differ from their weight, of those that the next update would not
    change, because float32 rounds the increment away.
    groups: the distance by layer group.
    """

    decay: float
    window: float | None
    distance: float | None
    stalled: float
    groups: dict[str, float | None]


def window(every: int, weight: float, decay: float) -> float:
    """The effective window k·W_t/(1 - d_t) = k/α_t, in steps: the last update has the share k/window of the average.

    every: k, the number of steps between two updates. weight: W_t; 1 gives the window of a long run. decay: d_t, over k steps.
    Returns infinity if the decay is 1 in float64.
    """
    return every * weight / (1 - decay) if decay < 1 else math.inf


@dataclass(frozen=True)
class Tally:
    """Sums over pairs (θ, s) of a weight and its average; tallies of disjoint pairs can be added.

    difference: Σ(θ - s)². norm: Σθ². differing: number of pairs with s ≠ θ. kept: number of those that the next update would
    not change.
    """

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
        """‖θ - s‖/‖θ‖, None if ‖θ‖ is 0."""
        return math.sqrt(self.difference / self.norm) if self.norm else None

    @property
    def stalled(self) -> float:
        """The share of the differing numbers that the next update would not change; 0 if none differ."""
        return self.kept / self.differing if self.differing else 0.0


def tally(theta: np.ndarray, shadow: np.ndarray, alpha: float | None) -> Tally:
    """Compare the weights `theta` with their average `shadow`. The sums are float64.

    theta: float16, bfloat16, float32 or float64. shadow: of the same shape, float32 or float64.
    alpha: α of the next update. A number counts as kept if s + α·(θ - s), rounded in the shadow's type as in the update, equals
    s. None stands for a compensated update, which loses nothing: no number counts as kept.
    """
    theta, shadow = widened(theta).reshape(-1), shadow.reshape(-1)
    difference = norm = 0.0
    differing = kept = 0
    # The difference of two finite numbers can overflow in float32.
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
    """The layer group of each place in a model ("backbone.0.weight"), by place.

    A group is the first component of its places. If that gives a single group, it is the first two components, or three, and so
    on. The search ends with several groups, or with one group per place.
    """
    depth = 1
    while True:
        found = {place: ".".join(place.split(".")[:depth]) for place in places}
        if len(set(found.values())) > 1 or all(group == place for place, group in found.items()):
            return found
        depth += 1
