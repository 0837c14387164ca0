"""The draws of mixup and cutmix, a pure function of a seed.

They are hashes, not draws of numpy's generators: numpy may change the stream of its Beta in any version, and a resumed run
repeats its draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ppema.config.sections.mix import Mix
from ppema.data.transforms.draws import Draws

_STREAM = 0x6D6978  # separates these draws from others with the same seed


@dataclass(frozen=True)
class MixDraw:
    """How one batch is mixed.

    blend: the factor of the sample itself in mixup, 1 without; box: the part of the image that cutmix replaces, (top, bottom,
    left, right), half-open, empty without; share: λ, the weight of the sample's own loss.
    """

    blend: float = 1.0
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    share: float = 1.0

    @classmethod
    def of(cls, spec: Mix, size: tuple[int, int] | None, seed: int) -> MixDraw:
        """The draw for a batch, a pure function of its arguments.

        size: (H, W) of the images, for cutmix; seed: that of the program's run, `ppema.checkpoint.state.step_seed`.
        """
        # Each number has its place, whatever the section has.
        mixes, switches, radius, angle, row, column = map(float, Draws(seed, 0, np.array([_STREAM]), 0).uniforms(6)[0])
        if mixes >= spec.prob:
            return cls()
        alpha = spec.mixup
        if alpha is not None and (spec.cutmix is None or switches >= spec.switch):
            share = float(np.float32(symmetric_beta(alpha, radius, angle)))
            return cls(blend=share, share=share)
        assert spec.cutmix is not None
        assert size is not None
        box = _box((row, column), size, symmetric_beta(spec.cutmix, radius, angle))
        top, bottom, left, right = box
        return cls(box=box, share=1 - (bottom - top) * (right - left) / (size[0] * size[1]))


def symmetric_beta(alpha: float, radius: float, angle: float) -> float:
    """A draw from Beta(α, α), α > 0, as a function of two numbers that are uniform in [0, 1).

    By Bailey 1994, "Polar generation of random variates with the t-distribution", T = sqrt(2α·(U^(-1/α) - 1))·C is a draw from
    Student's t with 2α degrees of freedom, where U = 1 - radius and C = cos(2π·angle). Then 1/2 + T / (2·sqrt(2α + T²)) is one
    from Beta(α, α). The method rejects no draws.
    """
    cosine, log_power = math.cos(2 * math.pi * angle), math.log1p(-radius) / alpha
    # T² / (2α + T²), with both sides times U^(1/α) / 2α: that power may underflow, while its inverse would overflow.
    above = -math.expm1(log_power) * cosine**2
    return 0.5 + math.copysign(0.5, cosine) * math.sqrt(above / (math.exp(log_power) + above))


def _box(place: tuple[float, float], size: tuple[int, int], share: float) -> tuple[int, int, int, int]:
    """A box of about (1 - share) of the image's area around a random pixel, cut at the edges. Yun et al. 2019, eq. 2.

    place: that of the pixel, uniform in [0, 1)².
    """
    edges: list[int] = []
    for length, unit in zip(size, place, strict=True):
        half = int(length * math.sqrt(1 - share)) // 2
        centre = int(unit * length)
        edges += [max(centre - half, 0), min(centre + half, length)]
    top, bottom, left, right = edges
    return top, bottom, left, right
