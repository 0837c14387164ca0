"""The table of a run's evaluations: what it compares, and how it fits into a terminal."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, Group

from ppema.log.terminal.standings import Standings
from ppema.log.terminal.standings_table import standings_table


def shown(standings: Standings, width: int, height: int | None = None) -> list[str]:
    console = Console(width=width, height=height or 1000, color_system=None, legacy_windows=False)
    with console.capture() as said:
        console.print(Group(*standings_table(standings, width, height)))
    return [line.rstrip() for line in said.get().splitlines()]


def two_evaluations(*monitors: str) -> Standings:
    made = Standings(monitors)
    made.add(50, 1.0, {"raw": {"loss": 0.5, "accuracy": 0.9, "size": 7.0}, "ema": {"loss": 2.0, "accuracy": 0.5, "size": 7.0}})
    made.add(
        100, 2.0, {"raw": {"loss": 0.75, "accuracy": 0.875, "size": 8.0}, "ema": {"loss": 0.25, "accuracy": 0.9, "size": 7}}
    )
    return made


def test_the_table_has_the_last_figures_the_best_and_the_change():
    assert shown(two_evaluations("ema/accuracy"), 100) == [
        "evaluation after step 100, epoch 2.00",
        "weights  accuracy    best   change    loss    best   change    size   change",
        "raw        0.8750  0.9000  -0.0250  0.7500  0.5000  +0.2500  8.0000  +1.0000",
        "ema        0.9000  0.9000  +0.4000  0.2500  0.2500  -1.7500  7.0000        0",
    ]


def test_columns_that_do_not_fit_follow_below():
    assert shown(two_evaluations("ema/accuracy"), 40) == [
        "evaluation after step 100, epoch 2.00",
        "weights  accuracy    best   change",
        "raw        0.8750  0.9000  -0.0250",
        "ema        0.9000  0.9000  +0.4000",
        "weights    loss    best   change",
        "raw      0.7500  0.5000  +0.2500",
        "ema      0.2500  0.2500  -1.7500",
        "weights    size   change",
        "raw      8.0000  +1.0000",
        "ema      7.0000        0",
    ]


def test_what_a_low_terminal_has_no_room_for_is_counted():
    assert shown(two_evaluations("ema/accuracy"), 40, 6) == [
        "evaluation after step 100, epoch 2.00",
        "weights  accuracy    best   change",
        "raw        0.8750  0.9000  -0.0250",
        "ema        0.9000  0.9000  +0.4000",
        "2 more metrics are in log.txt: the",
        "terminal is too low",
    ]
    many = Standings()
    many.add(1, 1.0, {f"w{index}": {"loss": 1.0} for index in range(9)})
    assert shown(many, 80, 6)[-3:] == [
        "w0       1.0000  1.0000       -",
        "w1       1.0000  1.0000       -",
        "7 more averages are in log.txt: the terminal is too low",
    ]


def test_a_line_marks_the_best_of_the_monitored_metrics():
    assert two_evaluations("ema/accuracy", "raw/loss").line(200) == (
        "step 100/200  epoch 2.00  accuracy: raw 0.8750  ema 0.9000 (best)  loss: raw 0.7500  ema 0.2500  "
        "size: raw 8.0000  ema 7.0000"
    )


def test_a_line_of_a_run_without_a_monitor_marks_the_best_of_all_weights():
    """0.9 of the average is no better than the weights' 0.9 before."""
    assert two_evaluations().line(200) == (
        "step 100/200  epoch 2.00  loss: raw 0.7500  ema 0.2500 (best)  accuracy: raw 0.8750  ema 0.9000  "
        "size: raw 8.0000  ema 7.0000"
    )
    equal = Standings()
    equal.add(1, 1.0, {"raw": {"loss": 0.5}, "ema": {"loss": 0.5}})
    assert equal.line(9) == "step 1/9  epoch 1.00  loss: raw 0.5000 (best)  ema 0.5000"


def test_a_line_has_no_more_than_four_metrics():
    made = Standings(["raw/f"])
    made.add(3, 0.5, {"raw": dict.fromkeys("abcdef", 0.5)})
    assert (
        made.line(4) == "step 3/4  epoch 0.50  f: raw 0.5000  a: raw 0.5000  b: raw 0.5000  c: raw 0.5000  (2 more in log.txt)"
    )


def test_values_that_are_not_finite_are_never_the_best():
    made = Standings(["raw/loss"])
    made.add(1, 1.0, {"raw": {"loss": math.nan}})
    assert made.line(3) == "step 1/3  epoch 1.00  loss: raw nan"
    made.add(2, 2.0, {"raw": {"loss": 1.0}})
    made.add(3, 3.0, {"raw": {"loss": -math.inf}})
    assert shown(made, 80)[2].split() == ["raw", "-inf", "1.0000", "-inf"]


def test_a_resumed_run_knows_the_best_before():
    """A record has null for a value that was not finite. Weights that are no longer evaluated have no row."""
    before = {"kind": "eval", "epoch": 1.0, "matrix": [[1]]}
    made = Standings()
    made.recall(
        [
            {**before, "step": 5, "weights": "raw", "loss": 0.25},
            {**before, "step": 5, "weights": "old", "loss": 0.125},
            {**before, "step": 6, "weights": "raw", "loss": None},
        ]
    )
    assert shown(made, 80)[1:] == ["weights  loss    best  change", "raw       nan  0.2500     nan"]
    made.add(7, 2.0, {"raw": {"loss": 0.5}})
    assert shown(made, 80)[2].split() == ["raw", "0.5000", "0.2500", "nan"]


NAMES = st.text(st.sampled_from("abcXYZ_.09é語"), min_size=1, max_size=60)
FIGURES = st.floats(allow_nan=True, allow_infinity=True, width=32)


@st.composite
def evaluated(draw) -> tuple[Standings, list[str]]:
    weights = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    metrics = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    made = Standings([f"{weights[0]}/{metrics[-1]}"], "max")
    for step in range(1, draw(st.integers(1, 2)) + 1):
        made.add(step, 1.0, {weight: {metric: draw(FIGURES) for metric in metrics} for weight in weights})
    return made, [*weights, *metrics]


@given(evaluated(), st.sampled_from([60, 80, 200]), st.one_of(st.none(), st.integers(10, 60)))
def test_no_line_is_longer_than_the_terminal_is_wide_and_all_names_are_there(made, width, height):
    standings, names = made
    lines = shown(standings, width, height)
    assert max(map(cell_len, lines)) <= width
    if height is None:
        columns = "".join("".join(line.split()) for line in lines)
        # A name of more than a column is folded, between the cells of other columns.
        assert [name for name in names if cell_len(name) < 20 and name not in columns] == []
    elif len(names) < 8:
        assert len(lines) <= height
