"""Sizes of random boxes in an image: a share of its area, and a ratio of the sides."""

from __future__ import annotations

import math

import numpy as np

from ppema.data.transforms.draws import Draws

_TRIES = 10


def drawn_sides(
    draws: Draws, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], limit: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two sides a, b of a box, int64[n], with a·b / (H·W) uniform in `scale` and log(a / b) uniform in that of `ratio`.

    Boxes with a side of 0, or a side above `limit`, are drawn again, up to 10 times. Returns a, b and whether they are valid,
    bool[n].
    """
    area = draws.uniforms(_TRIES, *scale) * (size[0] * size[1])
    root = np.exp(0.5 * draws.uniforms(_TRIES, math.log(ratio[0]), math.log(ratio[1])))
    side = np.sqrt(area)
    a, b = np.rint(side * root), np.rint(side / root)
    valid = (a > 0) & (a <= limit[0]) & (b > 0) & (b <= limit[1])
    first = np.arange(len(a)), valid.argmax(axis=1)
    return a[first].astype(np.int64), b[first].astype(np.int64), valid[first]
