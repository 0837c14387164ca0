"""The values of swept keys: lists and ranges, as texts."""

from __future__ import annotations

import math
import re

import pytest

from ppema.config import Choices, Range
from ppema.config.swept import FORMS, parse_swept
from ppema.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.9,0.99", Choices((0.9, 0.99))),
        ("1e-3, 1e-5", Choices((0.001, 0.00001))),
        ("1, 2.0, true, null, adam, 'a,b', '1'", Choices((1, 2.0, True, None, "adam", "a,b", "1"))),
        ("null,5 %", Choices((None, "5 %"))),
        (
            "{name: Adam},{name: Momentum, args: {momentum: 0.9}}",
            Choices(({"name": "Adam"}, {"name": "Momentum", "args": {"momentum": 0.9}})),
        ),
        ("[1,2],[3]", Choices(([1, 2], [3]))),
        ("[1,2]", Choices((1, 2))),
        ("../a,../b", Choices(("../a", "../b"))),
        ("b", Choices(("b",))),
        ("0.5..0.9", Range("float", 0.5, 0.9)),
        ("1..10", Range("float", 1.0, 10.0)),
        ("float:-1e-3..+.5", Range("float", -0.001, 0.5)),
        (" log:1e-3 .. 1e-1 : 5 ", Range("log", 0.001, 0.1, 5)),
        ("int:-2..8", Range("int", -2, 8)),
    ],
)
def test_a_text_is_a_range_or_values(text, found):
    swept = parse_swept(text)
    assert (swept, parse_swept(str(swept))) == (found, found)
    if isinstance(swept, Choices):
        assert list(map(type, swept.values)) == list(map(type, found.values))


def test_one_value_that_is_a_list_keeps_its_brackets():
    assert str(Choices(([1, 2],))) == "[[1, 2]]"
    assert parse_swept("[[1, 2]]") == Choices(([1, 2],))


def expected(text, problem=""):
    return f"expected {FORMS}, got {text!r}{problem}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"expected {FORMS}, got no value"),
        ("a,", expected("a,")),
        ("a,,b", expected("a,,b", ": not valid YAML: while parsing a flow node, expected the node content, but found ','")),
        ("a], [b", expected("a], [b", ": not valid YAML: expected '<document start>', but found ','")),
        ("1e-3..", expected("1e-3..")),
        ("..5", expected("..5")),
        ("1..2,3", expected("1..2,3")),
        ("1..b", expected("1..b")),
        ("log:1", expected("log:1")),
        ("lgo:1..2", "unknown kind of range 'lgo'; known: float, log, int"),
        ("log:1..1", "the range log:1.0..1.0 has one number"),
        ("1..0", "the range float:1.0..0.0 is empty, as its lower end comes first"),
        ("log:0..1", "expected numbers > 0 in the range log:0.0..1.0"),
        ("log:-1..1", "expected numbers > 0 in the range log:-1.0..1.0"),
        ("0..1e999", "expected finite numbers in the range float:0.0..inf"),
        ("int:1.5..3", "expected integers of up to 18 digits in an int range, got 1.5"),
        ("0..1:1", "expected from 2 to 10000 points in the range float:0.0..1.0:1"),
        ("int:1..3:4", "expected from 2 to 3 points in the range int:1..3:4"),
        ("0.1,0.10", "0.1 is listed twice"),
        ("1,1.0", "1.0 is listed twice"),
        ("{a: 1},{a: 1.0}", "{a: 1.0} is listed twice"),
    ],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        parse_swept(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("log:1e-3..1e-1:5", (0.001, 10**-2.5, 0.01, 10**-1.5, 0.1)),
        ("0.1..0.5:5", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("int:1..9:5", (1, 3, 5, 7, 9)),
        ("int:1..4", (1, 2, 3, 4)),
        ("int:0..10:4", (0, 3, 7, 10)),
    ],
)
def test_a_grid_has_both_ends_and_even_steps(text, values):
    grid = parse_swept(text).grid
    assert grid == pytest.approx(values, rel=1e-11) and (grid[0], grid[-1]) == (values[0], values[-1])
    assert all(isinstance(each, int) for each in grid) == text.startswith("int")
    assert all(float(f"{each:.12g}") == each for each in grid)


def test_a_range_of_floats_has_no_grid_without_points():
    assert parse_swept("log:1..2").grid is None
    assert math.isclose(parse_swept("0..1:3").grid[1], 0.5)
