"""Averages of any length from snapshots of a few: post-hoc EMA (Karras et al. 2024, arXiv:2312.02696, section 3.2).

After step t every average is a sum Σ p(i)·θ_i. Its profile p gives the share of the weights θ_i after each step i of the run.
A combination Σ x_j·s_j of snapshots is again an average, with the profile Σ x_j·p_j. `solve` finds the x whose profile is
nearest to a wanted profile. The combination then approximates the wanted average, which training never computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

_CELLS = 4096  # largest number of cells; with fewer observations each has its own cell, and the solution is exact


class Shape(Protocol):
    """The distribution of an average's weight over the time since the average began."""

    def cumulative(self, time: np.ndarray, total: float) -> np.ndarray:
        """The share of the weight, in [0, 1], on the first `time` of `total` steps. time and result: [N] float64."""
        ...


@dataclass(frozen=True)
class PowerShape:
    """F(t') = (t'/t)^(γ+1): the shape of `decay.PowerFunction`, whose updates telescope (Karras et al. 2024, eq. 127)."""

    gamma: float

    def cumulative(self, time: np.ndarray, total: float) -> np.ndarray:
        return (time / total) ** (self.gamma + 1)


@dataclass(frozen=True)
class ExponentialShape:
    """F(t') = (2^(t'/h) - 1)/(2^(t/h) - 1): weights ∝ 2^(-(t - t')/h) with half-life h, the shape of `decay.HalfLife`."""

    half_life: float

    def cumulative(self, time: np.ndarray, total: float) -> np.ndarray:
        rate = math.log(2) / self.half_life
        # Numerator and denominator are divided by 2^(t/h), which may overflow.
        return np.exp((time - total) * rate) * np.expm1(-time * rate) / math.expm1(-total * rate)


@dataclass(frozen=True)
class Profile:
    """The share of the weights after each step of a run in an average, as of step `end`.

    shape: distribution of the weight over the time since the average began. begin: number of steps before the average begins.
    every: number of steps between two updates. The average observes the weights after the steps begin + every,
    begin + 2·every, …; an interval that ends after `end` does not count. Raises ValueError if there is no observation.
    """

    shape: Shape
    begin: int
    end: int
    every: int = 1

    def __post_init__(self) -> None:
        if self.time < self.every:
            raise ValueError(f"the average begins after step {self.begin}: after step {self.end} it has seen no weights")

    @property
    def time(self) -> int:
        """t: number of steps from the average's begin to its last update."""
        return (self.end - self.begin) // self.every * self.every

    def cumulative(self, steps: np.ndarray) -> np.ndarray:
        """The share of the weight on all observations up to and including each of `steps`.

        steps: [N] steps of the run. Returns [N] float64 in [0, 1].
        """
        since = np.clip(steps - self.begin, 0, self.time) // self.every * self.every
        return self.shape.cumulative(since.astype(np.float64), float(self.time))


@dataclass(frozen=True)
class Solution:
    """The result of `solve`.

    coefficients: x, [snapshots] float64, with sum 1.
    error: ‖P·x - r‖/‖r‖, the relative distance of their profile from the wanted one.
    """

    coefficients: np.ndarray
    error: float


def solve(tracked: Sequence[Profile], wanted: Profile) -> Solution:
    """The least-squares solution x of min ‖P·x - r‖, divided by its sum: Σ x_j·p_j is nearest to `wanted`.

    P's columns and r are the densities of the profiles on `cells`: mass/√width, so that ⟨a, b⟩ = ∫ a(t)·b(t) dt. The paper
    solves A·x = B with A_ij = ⟨p_i, p_j⟩ and B_i = ⟨p_i, r⟩, and divides by the sum too. Those are the normal equations of this
    problem. The condition number of P is only the square root of A's.
    """
    if len({each.every for each in (*tracked, wanted)}) > 1:
        # Averages with different intervals share no observations. Neighbouring weights are alike: each observation is spread
        # over the interval before it.
        tracked, wanted = [smeared(each) for each in tracked], smeared(wanted)
    edges = cells([*tracked, wanted])
    columns = np.stack([density(profile, edges) for profile in tracked], axis=1)
    target = density(wanted, edges)
    found, *_ = np.linalg.lstsq(columns, target, rcond=None)
    total = found.sum()
    if not abs(total) > np.finfo(np.float64).tiny:
        # The wanted profile overlaps none of the tracked ones.
        return Solution(np.full(len(found), 1 / len(found)), math.inf)
    found = found / total
    return Solution(found, float(np.linalg.norm(columns @ found - target) / np.linalg.norm(target)))


def smeared(profile: Profile) -> Profile:
    """The profile with the weight of each observation spread over the steps of its interval."""
    return Profile(profile.shape, profile.begin, profile.begin + profile.time)


def density(profile: Profile, edges: np.ndarray) -> np.ndarray:
    """The profile's mass between neighbouring edges, divided by the square root of their distance: [len(edges) - 1] float64."""
    return np.diff(profile.cumulative(edges)) / np.sqrt(np.diff(edges))


def cells(profiles: Sequence[Profile], most: int = _CELLS) -> np.ndarray:
    """The edges of the cells on which profiles are compared: steps of the run in ascending order, [cells + 1] int64.

    Each profile begins and ends at an edge. All profiles must have the same update interval. A cell holds as few whole
    intervals as keep the number of cells near `most`.
    """
    breaks = np.unique([step for each in profiles for step in (each.begin, each.begin + each.time)])
    (interval,) = {each.every for each in profiles}
    most_between = max(16, most // max(1, len(breaks) - 1))
    edges = [breaks[:1]]
    for low, high in pairwise(breaks):
        width = interval * math.ceil((high - low) / (interval * most_between))
        edges.append(np.arange(high, low, -width)[::-1])
    return np.concatenate(edges)
