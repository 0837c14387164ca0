"""Lengths of averages as users give them."""

from __future__ import annotations

import pytest

from ppema.averaging.power import gamma_of
from ppema.averaging.profiles import ExponentialShape, PowerShape
from ppema.config.horizon import Horizon
from ppema.errors import PpemaError
from ppema.posthoc.lengths import BETWEEN, Length, length, parse

HORIZON = Horizon(steps_per_epoch=40, batch_size=16, epochs=10)


def test_lists_are_put_in_order():
    found = parse("sigma_rel", "sigma_rel", "0.15, 0.05,0.10,0.15", HORIZON)
    assert [(each.value, each.text) for each in found] == [(0.05, "0.05"), (0.10, "0.10"), (0.15, "0.15")]
    assert [each.shape for each in found] == [PowerShape(gamma_of(each.value)) for each in found]
    found = parse("half_life", "half_life", "1.5 epochs,30 steps,10 %,160 samples", HORIZON)
    assert [(each.value, str(each)) for each in found] == [
        (10.0, "half_life 160 samples"),
        (30.0, "half_life 30 steps"),
        (40.0, "half_life 10 %"),
        (60.0, "half_life 1.5 epochs"),
    ]
    assert found[1].shape == ExponentialShape(30.0)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("sigma_rel", "0.05,wide", r"x: sigma_rel: expected a number such as 0.05, got 'wide'"),
        ("sigma_rel", "", r"x: sigma_rel: expected a number such as 0.05, got ''"),
        ("sigma_rel", "0.3", r"x: sigma_rel: expected a number in \[0.0001, 0.2886\], got 0.3"),
        ("sigma_rel", "nan", r"x: sigma_rel: expected a number in \[0.0001, 0.2886\], got nan"),
        ("half_life", "2 epochs,5", r"x: expected a duration such as '50 steps', .*, got '5'"),
        ("half_life", "0 steps", r"x: expected a duration above 0"),
    ],
)
def test_what_is_no_length(kind, text, said):
    with pytest.raises(PpemaError, match=said) as caught:
        parse(kind, "x", text, HORIZON)
    assert len(str(caught.value).splitlines()) == 1


def test_an_argument_of_that_name_is_named_once():
    with pytest.raises(PpemaError) as caught:
        parse("sigma_rel", "sigma_rel", "0.3", HORIZON)
    assert str(caught.value) == "sigma_rel: expected a number in [0.0001, 0.2886], got 0.3"
    assert caught.value.worded(lambda name: f"<{name}>").startswith("<sigma_rel>: expected a number")


def test_searched_lengths_are_what_their_text_says():
    assert length("sigma_rel", 0.0274213) == Length("sigma_rel", 0.02742, "0.02742")
    # Rounded up, the widest there is would be none.
    assert length("sigma_rel", 12**-0.5) == Length("sigma_rel", 0.2886, "0.2886")
    assert length("half_life", 123.456) == Length("half_life", 123.5, "123.5 steps")
    assert length("half_life", 123456.7) == Length("half_life", 123457.0, "123457 steps")


def test_where_a_search_looks_by_default():
    assert [each.value for each in parse("sigma_rel", "", BETWEEN["sigma_rel"], HORIZON)] == [0.02, 0.25]
    assert [each.value for each in parse("half_life", "", BETWEEN["half_life"], HORIZON)] == [4.0, 80.0]
