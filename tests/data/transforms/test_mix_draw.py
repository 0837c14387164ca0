"""The draws of mixup and cutmix: their distribution, and their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppema.config.sections.mix import Mix
from ppema.data.transforms.mix_draw import MixDraw, symmetric_beta

SIZE = (7, 9)


def draws(spec: Mix, count: int = 4000) -> list[MixDraw]:
    return [MixDraw.of(spec, SIZE, seed) for seed in range(count)]


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0, 300.0])
def test_the_share_of_mixup_is_beta_distributed(alpha):
    """Mean 1/2, variance 1 / (4·(2α + 1)), fourth central moment by Beta's kurtosis. Bounds: five standard errors."""
    shares = np.array([each.share for each in draws(Mix(mixup=alpha))])
    assert [each.blend for each in draws(Mix(mixup=alpha), 9)] == shares[:9].tolist()
    variance = 1 / (4 * (2 * alpha + 1))
    fourth = 3 * variance**2 * (2 * alpha + 1) / (2 * alpha + 3)
    assert abs(shares.mean() - 0.5) < 5 * np.sqrt(variance / 4000)
    assert abs(shares.var() - variance) < 5 * np.sqrt((fourth - variance**2) / 4000)


def test_the_share_of_cutmix_is_the_area_outside_of_its_box():
    drawn = draws(Mix(cutmix=1.0))
    for each in drawn:
        top, bottom, left, right = each.box
        assert 0 <= top <= bottom <= 7 and 0 <= left <= right <= 9
        assert each.blend == 1
        assert each.share == 1 - (bottom - top) * (right - left) / 63
    inside = np.zeros(SIZE)
    for top, bottom, left, right in (each.box for each in drawn):
        inside[top:bottom, left:right] += 1
    assert inside.min() > 0


def test_how_often_each_is_chosen():
    drawn = draws(Mix(mixup=1.0, cutmix=1.0, prob=0.6, switch=0.25))
    none = np.mean([each == MixDraw() for each in drawn])
    mixup = np.mean([each.blend < 1 for each in drawn])
    assert abs(mixup - 0.45) < 0.04
    # A box of no pixels is drawn too, for shares near 1.
    assert 0.38 < none < 0.45
    assert drawn[:50] == draws(Mix(mixup=1.0, cutmix=1.0, prob=0.6, switch=0.25), 50)
    assert all(each == MixDraw() for each in draws(Mix(mixup=1.0, prob=0.0), 20))


def splitmix64(key: int, number: int) -> int:
    """Output `number` of SplitMix64 seeded with `key`."""
    z = (key + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_the_draws_are_hashes_of_the_seed(seed):
    """Not a stream of numpy, which another version may change: a resumed run must repeat its draws."""
    key = 0
    for number in (seed, 0, 0, 0x6D6978):
        key = splitmix64(key, number)
    _, _, radius, angle, row, column = ((splitmix64(key, number) >> 11) / 2**53 for number in range(6))
    student = math.sqrt(0.4 * ((1 - radius) ** -5 - 1)) * math.cos(2 * math.pi * angle)
    share = 0.5 + student / (2 * math.sqrt(0.4 + student**2))
    assert abs(MixDraw.of(Mix(mixup=0.2), None, seed).share - share) < 1e-7
    top, bottom, left, right = MixDraw.of(Mix(cutmix=0.2), (1000, 1000), seed).box
    half = int(1000 * math.sqrt(1 - share)) // 2
    expected = [edge for place in (row, column) for edge in (int(1000 * place) - half, int(1000 * place) + half)]
    assert [top, bottom, left, right] == np.clip(expected, 0, 1000).tolist()


@pytest.mark.parametrize("alpha", [1e-300, 1e-3, 1.0, 1000.0])
def test_no_draw_is_outside_of_the_unit_interval(alpha):
    ends = (0.0, 2.0**-53, 0.25, 0.5, 1 - 2.0**-53)
    for radius in ends:
        for angle in ends:
            assert 0 <= symmetric_beta(alpha, radius, angle) <= 1
