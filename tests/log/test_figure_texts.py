"""A figure as text shows at least two of its digits, in every command."""

from __future__ import annotations

import math

import pytest

from ppema.cli.common import print_table
from ppema.evaluation.samples.bootstrap import SampleInterval
from ppema.evaluation.samples.paired_difference import PairedDifference
from ppema.experiments.comparison.sample_intervals import RowInterval, SampleDifference, SampleIntervals
from ppema.log.figure_texts import decimals, difference, figure, spread


@pytest.mark.parametrize(
    ("value", "text", "change", "deviation"),
    [
        (0.0, "0.0000", "0", "0.0000"),
        (0.5, "0.5000", "+0.5000", "0.5000"),
        (0.00012, "0.00012", "+0.0001", "0.0001"),
        (0.000012345, "1.23e-05", "+1.2e-05", "1.2e-05"),
        (123456.0, "1.23e+05", "+1.2e+05", "1.2e+05"),
        (-math.inf, "-inf", "-inf", "-inf"),
        (math.nan, "nan", "nan", "nan"),
    ],
)
def test_figures_are_short_and_keep_their_digits(value, text, change, deviation):
    assert (figure(value), difference(value), spread(value)) == (text, change, deviation)
    assert (figure(None), spread(None)) == ("-", "-")


@pytest.mark.parametrize(
    ("values", "spreads", "digits"),
    [((0.9876, 0.5), (), 4), ((3e-5,), (), 8), ((41.2,), (0.0012,), 4), ((None, math.nan), (), 4), ((12345.0,), (), 0)],
)
def test_decimals_are_those_of_the_largest_value(values, spreads, digits):
    assert decimals(values, spreads) == digits


def test_small_figures_are_numbers_of_a_table(capsys):
    print_table(["weights", "loss"], [["raw", 3e-5], ["ema", 0.125]])
    assert capsys.readouterr().out == "weights    loss\nraw       3e-05\nema      0.1250\n"


def test_intervals_of_small_figures_have_more_decimals():
    rows = (RowInterval("a", "raw", "loss", SampleInterval(3e-5, 2.9e-5, 3.2e-5), None),)
    less = (SampleDifference("ema - raw, a", PairedDifference(-2e-6, SampleInterval(-2e-6, -4e-6, 1e-6), None, None)),)
    first, second = (table.rows for table in SampleIntervals(10, "loss", rows, less, ()).tables())
    assert first == (("a", "raw", "0.00002900..0.00003200"),)
    assert second == (("ema - raw, a", "-2.0e-06", "-4.0e-06..+1.0e-06"),)
