"""Power-function averages and their widths (Karras et al. 2024, arXiv:2312.02696)."""

from __future__ import annotations

import math

import numpy as np


def sigma_rel(gamma: float) -> float:
    """σ_rel = sqrt((γ + 1)/((γ + 2)²·(γ + 3))): the width of the profile t^γ relative to the run so far."""
    return math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)))


# The width 1/√12 of the simple average, γ = 0, rounded down to four digits.
WIDEST = 0.2886
NARROWEST = 1e-4  # a ten-thousandth of the run


def gamma_of(sigma: float) -> float:
    """γ of the profile whose relative width is `sigma`: the largest real root of [1, 7, 16 - σ⁻², 12 - σ⁻²].

    Raises ValueError unless NARROWEST ≤ sigma ≤ 1/√12. The upper bound is the width of the simple average, γ = 0.
    """
    widest = sigma_rel(0.0)
    if not NARROWEST <= sigma <= widest * (1 + 1e-12):
        raise ValueError(f"sigma_rel: expected a number in [{NARROWEST}, {WIDEST}], got {sigma!r}")
    roots = np.roots([1, 7, 16 - sigma**-2, 12 - sigma**-2])
    return max(0.0, float(roots.real[np.abs(roots.imag) < 1e-9 * np.abs(roots.real).max()].max()))
