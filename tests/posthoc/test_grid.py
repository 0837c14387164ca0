"""Searches over lengths: the tried lengths, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppema.posthoc.grid import golden_section, grid


def test_a_grid_has_equal_factors_and_both_ends():
    assert grid(0.02, 0.32, 5) == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32])


def test_golden_sections_by_hand():
    tried = []
    golden_section(lambda length: tried.append(length) or abs(math.log(length / 3)), 1.0, math.e**2, 4)
    golden = (math.sqrt(5) - 1) / 2
    # In log(length), on [0, 2], with the minimum at log 3 = 1.0986: 0.764 costs 0.335 and 1.236 costs 0.138, so the interval
    # becomes [0.764, 2], whose sections are 1.236 and 1.528 (0.429); then [0.764, 1.528], whose other section is 1.056.
    expected = [2 - 2 * golden, 2 * golden, 2 - 2 * golden + golden * 2 * golden, 2 - 2 * golden + (1 - golden) * 2 * golden**2]
    assert [math.log(each) for each in tried] == pytest.approx(expected)
    assert expected == pytest.approx([0.764, 1.236, 1.528, 1.056], abs=5e-4)


@given(best=st.floats(0.011, 0.24), points=st.integers(3, 25))
def test_golden_sections_close_in_on_a_single_minimum(best, points):
    tried = {}

    def cost(length):
        tried[length] = (length - best) ** 2
        return tried[length]

    golden_section(cost, 0.01, 0.25, points)
    assert len(tried) == points
    found = min(tried, key=lambda length: tried[length])
    # The interval that is left, on which the best one lies, after points - 1 sections.
    assert abs(math.log(found / best)) <= math.log(25) * 0.6180340 ** (points - 1) * 1.0001 + 1e-6


def test_equals_are_told_apart_by_what_else_costs_say():
    tried = []
    golden_section(lambda length: tried.append(length) or (0, abs(math.log(length / 0.2))), 0.02, 0.25, 12)
    assert tried[-1] == pytest.approx(0.2, rel=0.02)
