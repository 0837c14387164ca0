"""The geometry of charts: which values an axis shows, its ticks, and the lines of steps."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from ppema.experiments.pages.chart import Curve, Points, draw

# The error of a real run's raw weights and of their average: the jumps are the difference.
RAW = [0.2956, 0.3063, 0.3032, 0.3041, 0.3348, 0.3261, 0.3020, 0.3103, 0.2957, 0.3095, 0.3013, 0.3014, 0.2989, 0.3041, 0.3199]
EMA = [0.3045, 0.3035, 0.2976, 0.3056, 0.3051, 0.3015, 0.3051, 0.2996, 0.3017, 0.2993, 0.3010, 0.3015, 0.3028, 0.2981, 0.3026]


def drawn(*curves, **keys):
    made = draw("a", "title", "epoch", [Curve("a", range(len(ys)), ys, "c1", **keys) for ys in curves])
    assert made is not None
    return made


def test_jumps_are_not_cut_off():
    chart = drawn(RAW, EMA)
    assert chart.cut == 0 and chart.scale[2] < min(RAW) and chart.scale[3] > max(RAW)


def test_first_evaluations_that_would_flatten_the_others_are():
    # The range of all is 100 times that of the others; 2.0 times is not extreme.
    chart = drawn([4.0, *RAW], [3.0, *EMA])
    assert chart.cut == 2 and max(RAW) < chart.scale[3] < 0.34
    assert drawn([0.37, *RAW], EMA).cut == 0
    below = drawn([-4.0, *RAW], EMA)
    assert below.cut == 1 and 0.29 < below.scale[2] < min(RAW)


def test_an_axis_does_not_magnify_rounding():
    """A window of 10 steps is reached up to rounding: every tick would be 10."""
    window = [9.948462247926802, 9.999734386011125, 9.99999863108521, 9.999999992944923, *[10 - 1e-13, 10.0] * 25]
    chart = drawn(window)
    assert chart.cut == 0 and [tick.text for tick in chart.y_ticks] == ["9.96", "9.98", "10.00"]
    # Constant up to rounding.
    low, high = drawn([10 - 1e-14, 10.0, 10 + 2e-15]).scale[2:]
    assert (low, high) == pytest.approx((9.5, 10.5))


def test_long_ticks_have_room():
    chart = drawn([0.1, 0.1 + 1e-9])
    longest = max(len(tick.text) for tick in chart.y_ticks)
    # They end 7 units left of the axis, and a digit is 7 units wide.
    assert longest > 8 and chart.left - 7 >= 7 * longest


def test_steps_hold_each_value_until_the_next():
    chart = drawn([3.0, 1.0, 1.0, 0.5], steps=True)
    (mark,) = chart.marks
    points = [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", mark.path)]
    # Every part is horizontal or vertical, and the corners are on the values.
    assert len(points) == 7 and all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(points))
    assert points[1] == (pytest.approx(points[2][0]), points[0][1]) and points[2][1] > points[1][1]


def test_ticks_of_whole_numbers():
    found = draw("a", "title", "trial", [Points("a", [0, 1, 2], [0.1, 0.2, 0.3], "c1")], whole_x=True)
    assert found is not None and [tick.text for tick in found.x_ticks] == ["0", "1", "2"]
