"""Durations: their spelling, their refusals and their length in steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ppema.config import Duration
from ppema.errors import ConfigError

FORMS = "expected a duration such as '50 steps', '1 epoch', '2000 samples' or '10 %'"


@pytest.mark.parametrize(
    ("text", "value", "unit", "canonical"),
    [
        ("50 steps", 50, "steps", "50 steps"),
        ("1 step", 1, "steps", "1 step"),
        ("1 steps", 1, "steps", "1 step"),
        ("1 epoch", 1, "epochs", "1 epoch"),
        ("0.5 epochs", 0.5, "epochs", "0.5 epochs"),
        ("2000 samples", 2000, "samples", "2000 samples"),
        ("1 sample", 1, "samples", "1 sample"),
        ("10 %", 10, "percent", "10 %"),
        ("10%", 10, "percent", "10 %"),
        ("10 percent", 10, "percent", "10 %"),
        ("1 %", 1, "percent", "1 %"),
        ("2e4 samples", 20000, "samples", "20000 samples"),
        ("  3   epochs ", 3, "epochs", "3 epochs"),
    ],
)
def test_spelling(text, value, unit, canonical):
    duration = Duration.parse(text)
    assert duration == Duration(value, unit)
    assert str(duration) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (50, f"{FORMS}, got 50"),
        (True, f"{FORMS}, got true"),
        (None, f"{FORMS}, got null"),
        ("50", f"{FORMS}, got '50'"),
        ("steps", f"{FORMS}, got 'steps'"),
        ("2 hours", f"{FORMS}, got '2 hours'"),
        ("-1 steps", f"{FORMS}, got '-1 steps'"),
        ("٣ steps", f"{FORMS}, got '٣ steps'"),
        ("0 steps", "expected a duration above 0 and up to 1e15, got '0 steps'"),
        ("1e999 epochs", "expected a duration above 0 and up to 1e15, got 'inf epochs'"),
        ("1.5 steps", "expected a whole number of steps, got '1.5 steps'"),
        ("0.5 samples", "expected a whole number of samples, got '0.5 samples'"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(ConfigError) as caught:
        Duration.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("50 steps", 50),
        ("2 epochs", 20),
        ("0.25 epochs", 3),  # 2.5, and a half goes up
        ("0.24 epochs", 2),
        ("64 samples", 2),
        ("1 sample", 1),  # never nothing
        ("10 %", 20),
        ("100 %", 200),
        ("0.1 %", 1),
    ],
)
def test_length_in_steps(text, steps):
    assert Duration.parse(text).to_steps(steps_per_epoch=10, batch_size=32, total_steps=200) == steps


def test_a_percentage_needs_the_run_s_length():
    with pytest.raises(ConfigError) as caught:
        Duration(10, "percent").to_steps(steps_per_epoch=10, batch_size=32, total_steps=None)
    assert str(caught.value) == "'10 %' needs a run of known length; give it in steps or epochs"


def test_as_a_field_it_is_a_string():
    adapter = TypeAdapter(Duration)
    assert adapter.validate_python("1 epoch") == Duration(1, "epochs")
    assert adapter.validate_python(Duration(1, "epochs")) == Duration(1, "epochs")
    assert adapter.dump_python(Duration(1, "epochs")) == "1 epoch"
    assert adapter.dump_json(Duration(10, "percent")) == b'"10 %"'
    assert adapter.json_schema()["type"] == "string"


whole = st.integers(1, 10**15).map(float)
durations = st.builds(Duration, whole, st.sampled_from(["steps", "samples"])) | st.builds(
    Duration, st.floats(0, 1e15, exclude_min=True), st.sampled_from(["epochs", "percent"])
)


@given(durations)
def test_round_trip(duration):
    assert Duration.parse(str(duration)) == duration


@given(durations, st.integers(1, 10**9), st.integers(1, 10**6), st.integers(1, 10**12))
def test_lengths_are_positive_integers(duration, steps_per_epoch, batch_size, total_steps):
    steps = duration.to_steps(steps_per_epoch=steps_per_epoch, batch_size=batch_size, total_steps=total_steps)
    assert type(steps) is int
    assert steps >= 1
