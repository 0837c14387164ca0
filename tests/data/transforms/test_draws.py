"""Draws: uniform, independent in each of the numbers they depend on, and on nothing else."""

import numpy as np
import pytest

from ppema.data.transforms.draws import Draws, hashed

BINS, COUNT = 16, 40_000


def unit(place=0, epoch=0, seed=0, count=1, indices=None):
    return Draws(seed, epoch, np.arange(COUNT) if indices is None else indices, place).uniforms(count)


def test_splitmix_by_hand():
    """The first outputs of SplitMix64 for seed 1234567, as its reference implementation in C prints them."""
    outputs = hashed(np.array([1234567], np.uint64), np.arange(5))
    assert outputs.tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def chi_square(pairs: np.ndarray) -> float:
    """Of the counts of `pairs`, [N, 2] in [0, 1), in BINS x BINS cells."""
    cells = (pairs * BINS).astype(int)
    counts = np.bincount(cells[:, 0] * BINS + cells[:, 1], minlength=BINS**2)
    expected = len(pairs) / BINS**2
    return float(((counts - expected) ** 2 / expected).sum())


NEIGHBOURS = {
    "samples": lambda: np.concatenate([unit()[:-1], unit()[1:]], axis=1),
    "numbers": lambda: unit(count=2),
    "places": lambda: np.concatenate([unit(place=0), unit(place=1)], axis=1),
    "epochs": lambda: np.concatenate([unit(epoch=0), unit(epoch=1)], axis=1),
    "seeds": lambda: np.concatenate([unit(seed=0), unit(seed=1)], axis=1),
    "epoch and seed": lambda: np.concatenate([unit(epoch=1), unit(seed=1)], axis=1),
    "sample and number": lambda: np.concatenate([unit(count=2)[:-1, 1:], unit()[1:]], axis=1),
    "epochs of one sample": lambda: np.array([unit(epoch=e, indices=np.array([3]), count=2)[0] for e in range(COUNT // 20)]),
}


@pytest.mark.parametrize("kind", NEIGHBOURS)
def test_neighbours_are_uniform_and_independent(kind):
    """255 degrees of freedom: mean 255, deviation √510 = 22.6. The bounds are five deviations away."""
    assert 255 - 5 * 22.6 < chi_square(NEIGHBOURS[kind]()) < 255 + 5 * 22.6


def test_a_sample_has_its_draws_in_any_batch():
    whole = Draws(1, 2, np.arange(50), 3)
    some = Draws(1, 2, np.array([40, 7]), 3)
    for _ in range(2):
        assert some.uniforms(3, -1, 4).tolist() == whole.uniforms(3, -1, 4)[[40, 7]].tolist()
    assert some.integers(9).tolist() == whole.integers(9)[[40, 7]].tolist()
    assert whole.at(np.array([40, 7])).normals((2, 3)).tolist() == some.normals((2, 3)).tolist()


def test_integers_and_chances():
    draws = Draws(0, 0, np.arange(COUNT), 0)
    counts = np.bincount(draws.integers(5), minlength=5)
    # A binomial count has the deviation √(N p (1 - p)).
    assert len(counts) == 5 and np.abs(counts - COUNT / 5).max() < 5 * np.sqrt(COUNT * 0.2 * 0.8)
    assert abs(draws.chance(0.3).sum() - 0.3 * COUNT) < 5 * np.sqrt(COUNT * 0.3 * 0.7)
    assert not draws.chance(0).any() and draws.chance(1).all()


def test_normals():
    """Mean and variance of N(0, 1), whose estimates have the deviations 1/√N and √(2/N); the share within ±1 is 0.6827."""
    normal = Draws(0, 0, np.arange(COUNT), 0).normals((1,)).ravel()
    assert abs(normal.mean()) < 5 / np.sqrt(COUNT)
    assert abs(normal.var() - 1) < 5 * np.sqrt(2 / COUNT)
    assert abs((np.abs(normal) < 1).mean() - 0.6827) < 5 * np.sqrt(0.6827 * 0.3173 / COUNT)
