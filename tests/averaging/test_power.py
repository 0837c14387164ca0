"""Widths of power-function averages against the paper's figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppema.averaging.power import gamma_of, sigma_rel


def test_the_papers_widths():
    # Karras et al. 2024, section 3.1: γ = 6.94 and 16.97 for σ_rel = 0.10 and 0.05.
    assert round(gamma_of(0.10), 2) == 6.94
    assert round(gamma_of(0.05), 2) == 16.97


def test_the_simple_average_is_the_widest():
    assert sigma_rel(0.0) == pytest.approx(1 / math.sqrt(12))
    assert gamma_of(12**-0.5) == pytest.approx(0.0, abs=1e-6)


@given(st.floats(0.0, 200.0))
def test_the_inverse_is_one(gamma):
    assert gamma_of(sigma_rel(gamma)) == pytest.approx(gamma, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("sigma", [0.0, -0.1, 0.3, math.nan])
def test_widths_that_no_profile_has(sigma):
    with pytest.raises(ValueError, match="sigma_rel: expected a number in"):
        gamma_of(sigma)
