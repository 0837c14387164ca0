"""Random numbers for the samples of a batch. Each is a pure function of seed, epoch, sample, transform and number."""

from __future__ import annotations

import copy
import math

import numpy as np

# The increment and the finaliser of SplitMix64: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators",
# section 3; the constants of the finaliser are David Stafford's variant 13.
_GAMMA = 0x9E3779B97F4A7C15
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def mixed(z: np.ndarray) -> np.ndarray:
    """uint64: a bijection of `z`, in which each input bit changes each output bit with probability 1/2."""
    z = (z ^ (z >> np.uint64(30))) * _FACTORS[0]
    z = (z ^ (z >> np.uint64(27))) * _FACTORS[1]
    return z ^ (z >> np.uint64(31))


def hashed(key: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """uint64: the outputs `numbers`, each ≥ 0, of SplitMix64 seeded with `key`. The two broadcast."""
    return mixed(key + (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(_GAMMA))


class Draws:
    """Draws of one transform for the samples `indices`, int64[n], of one epoch.

    Each call returns new numbers. Number k of a sample depends on (seed, epoch, sample, place, k) alone: not on the other
    samples, their order or count. place: the transform's place in its list.
    """

    def __init__(self, seed: int, epoch: int, indices: np.ndarray, place: int):
        key = np.zeros(1, np.uint64)
        for number in (seed, epoch, place):
            key = hashed(key, np.array([number]))
        self._keys = hashed(key, indices)
        self._drawn = 0

    def uniform(self, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """float64[n] in [low, high)."""
        return self.uniforms(1, low, high)[:, 0]

    def uniforms(self, count: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """float64[n, count] in [low, high)."""
        numbers = np.arange(self._drawn, self._drawn + count)
        self._drawn += count
        unit = (hashed(self._keys[:, None], numbers) >> np.uint64(11)) * 2.0**-53
        return unit if (low, high) == (0.0, 1.0) else low + unit * (high - low)

    def integers(self, count: int | np.ndarray) -> np.ndarray:
        """int64[n], each from 0 to `count` - 1. count: one number ≥ 1 for all samples, or int64[n]."""
        return (self.uniform() * count).astype(np.int64)

    def chance(self, probability: float) -> np.ndarray:
        """bool[n]: True with `probability` in [0, 1]."""
        return self.uniform() < probability

    def normals(self, shape: tuple[int, ...]) -> np.ndarray:
        """float32[n, *shape], N(0, 1), by the method of Box and Muller 1958."""
        count = math.prod(shape)
        radius = np.sqrt(-2 * np.log(1 - self.uniforms(count)))
        return (radius * np.cos(self.uniforms(count, 0, 2 * math.pi))).astype(np.float32).reshape(-1, *shape)

    def at(self, rows: np.ndarray) -> Draws:
        """The draws of the samples at `rows` of the batch, int64[m], from here on."""
        some = copy.copy(self)
        some._keys = self._keys[rows]
        return some
