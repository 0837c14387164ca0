"""Averages of any length from snapshots of a few: post-hoc EMA (Karras et al. 2024, arXiv:2312.02696, section 3.2).

Whatever an average does online, after step t it is Σ p(i)·θ_i, where its profile p says how much the weights after each step
i of the run count. A combination Σ x_j·s_j of snapshots is again an average, of the profile Σ x_j·p_j; so the x that bring
this profile nearest to a wanted one bring the weights near to the wanted average, which was never computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

_CELLS = 4096  # in all, beyond which cells of several steps do; below, each observation has one and the solve is exact


class Shape(Protocol):
    """How an average spreads its weight over the time since it began."""

    def cumulative(self, time: np.ndarray, total: float) -> np.ndarray:
        """The share of the weight, in [0, 1], that lies on the first `time` of `total` steps; time: [N] float64."""
        ...


@dataclass(frozen=True)
class PowerShape:
    """F(t') = (t'/t)^(γ+1): what `decay.PowerFunction` tracks, whose updates telescope (Karras et al. 2024, eq. 127)."""

    gamma: float

    def cumulative(self, time: np.ndarray, total: float) -> np.ndarray:
        return (time / total) ** (self.gamma + 1)


@dataclass(frozen=True)
class ExponentialShape:
    """F(t') = (2^(t'/h) - 1)/(2^(t/h) - 1): weights ∝ 2^(-(t - t')/h), of half-life h, as `decay.HalfLife` tracks them."""

    half_life: float

    def cumulative(self, time: np.ndarray, total: float) -> np.ndarray:
        rate = math.log(2) / self.half_life
        # The same, divided by 2^(t/h) above and below, which may be too large for any float.
        return np.exp((time - total) * rate) * np.expm1(-time * rate) / math.expm1(-total * rate)


@dataclass(frozen=True)
class Profile:
    """How much the weights after each step of a run count in an average as it stands after step `end`.

    shape: of the weight over the time since the average began; begin: steps that it leaves out; every: steps between two
    updates. It observes the weights after the steps begin + every, begin + 2·every, …; a last interval that is not over by
    `end` does not count. Raises ValueError where there is no observation.
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
        """t: steps from the average's begin to its last update."""
        return (self.end - self.begin) // self.every * self.every

    def cumulative(self, steps: np.ndarray) -> np.ndarray:
        """The share of the weight on the observations up to and including each of `steps`, [N] of the run's steps."""
        since = np.clip(steps - self.begin, 0, self.time) // self.every * self.every
        return self.shape.cumulative(since.astype(np.float64), float(self.time))


@dataclass(frozen=True)
class Solution:
    """coefficients: x, [snapshots] float64, of sum 1; error: ‖P·x - r‖/‖r‖, how far their profile is from the wanted one."""

    coefficients: np.ndarray
    error: float


def solve(tracked: Sequence[Profile], wanted: Profile) -> Solution:
    """The x that bring Σ x_j·p_j nearest to `wanted`, min ‖P·x - r‖, divided by their sum: x/Σx.

    P's columns and r are the profiles' densities on `cells`: mass/√width, so that ⟨a, b⟩ = ∫ a(t)·b(t) dt. The paper solves
    A·x = B with A_ij = ⟨p_i, p_j⟩ and B_i = ⟨p_i, r⟩, and divides likewise. Those are this problem's normal equations; its own
    matrix has only the square root of A's condition number.
    """
    if len({each.every for each in (*tracked, wanted)}) > 1:
        # Averages that observe different steps have no observation in common. As neighbouring weights are alike, each stands
        # for the interval before it.
        tracked, wanted = [smeared(each) for each in tracked], smeared(wanted)
    edges = cells([*tracked, wanted])
    columns = np.stack([density(profile, edges) for profile in tracked], axis=1)
    target = density(wanted, edges)
    found, *_ = np.linalg.lstsq(columns, target, rcond=None)
    total = found.sum()
    if not abs(total) > np.finfo(np.float64).tiny:
        # A profile that has nothing in common with any of them.
        return Solution(np.full(len(found), 1 / len(found)), math.inf)
    found = found / total
    return Solution(found, float(np.linalg.norm(columns @ found - target) / np.linalg.norm(target)))


def smeared(profile: Profile) -> Profile:
    """The profile with the weight of each observation spread over the steps of its interval."""
    return Profile(profile.shape, profile.begin, profile.begin + profile.time)


def density(profile: Profile, edges: np.ndarray) -> np.ndarray:
    """The profile's mass between neighbouring edges over the square root of their distance: [len(edges) - 1] float64."""
    return np.diff(profile.cumulative(edges)) / np.sqrt(np.diff(edges))


def cells(profiles: Sequence[Profile], most: int = _CELLS) -> np.ndarray:
    """The edges, steps of the run in ascending order, of the cells on which profiles are compared.

    Wherever a profile begins or ends there is one. In between, cells hold whole update intervals of the profiles, which share
    one, as few of them as keep the number of cells near `most`.
    """
    breaks = np.unique([step for each in profiles for step in (each.begin, each.begin + each.time)])
    (interval,) = {each.every for each in profiles}
    most_between = max(16, most // max(1, len(breaks) - 1))
    edges = [breaks[:1]]
    for low, high in pairwise(breaks):
        width = interval * math.ceil((high - low) / (interval * most_between))
        edges.append(np.arange(high, low, -width)[::-1])
    return np.concatenate(edges)
