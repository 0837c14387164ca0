"""The computations and the output of the benchmarks. No test depends on a speed."""

from __future__ import annotations

import json

import pytest

from benchmarks import checkpoint
from benchmarks.limit import beside_limit
from benchmarks.measure import Figure, in_words, rows, side_by_side
from ppema.cli.benchmark import main


def test_a_figure_is_the_median_of_the_ratios_of_each_round():
    figure = Figure("a", "b", (1.0, 4.0, 9.0, 2.0), (2.0, 2.0, 3.0, 2.0))
    assert figure.values == [0.5, 2.0, 3.0, 1.0]
    assert (figure.value, figure.spread) == (1.5, (0.625, 2.75))
    assert rows([figure]) == [("a", "b", "3.0 s", "2.0 s", "1.50 (0.62 to 2.75)", "-")]


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        ("speed", [2.0, 0.5, 0.5], "0.50 (0.50 to 2.00)"),
        ("share", [-50.0, 100.0, 100.0], "100.0 % (-50.0 to 100.0)"),
        ("difference", [-0.0005, 0.001, 0.002], "1.0 ms (-0.5 to 2.0)"),
        ("time", [0.0005, 0.002, 0.004], "2.0 ms (0.5 to 4.0)"),
        ("memory", [0.5, 2.0, 2.0], "2.00 (0.50 to 2.00)"),
    ],
)
def test_the_other_kinds_of_figures(kind, values, text):
    figure = Figure("a", "b", (0.0005, 0.002, 0.004), (0.001, 0.001, 0.002), kind)
    assert (figure.values, figure.text) == (values, text)


@pytest.mark.parametrize(
    ("kind", "aim", "verdict"),
    [
        ("ratio", 2.0, "at most 2: holds"),
        ("ratio", 1.9, "at most 1.9: missed"),
        ("speed", 0.5, "at least 0.5: holds"),
        ("speed", 0.6, "at least 0.6: missed"),
        ("share", 3.0, "at most 3 %: missed"),
        ("difference", 20e-6, "at most 20 µs: missed"),
        ("time", 2e-3, "at most 2 ms: holds"),
        ("memory", 1.0, "at most 1: missed"),
        ("ratio", None, "-"),
    ],
)
def test_a_figure_meets_its_aim_or_misses_it(kind, aim, verdict):
    figure = Figure("a", "b", (0.002,) * 3, (0.001,) * 3, kind, aim)
    assert figure.verdict == verdict
    assert figure.holds is {"s": True, "d": False}.get(verdict[-1])


def test_memory_is_told_in_megabytes():
    assert rows([Figure("a", "b", (3e6, 3e6), (2e6, 2e6), "memory")])[0][2:5] == ("3 MB", "2 MB", "1.50 (1.50 to 1.50)")


def test_the_limit_is_the_time_of_the_fastest_add_for_as_many_bytes():
    """3 of 12 bytes take a quarter of the 2 ms of numpy's add."""
    figure = beside_limit("a", 10**6, 3, (1e-3, 1e-3), {1: (4e-3, 4e-3), 2: (2e-3, 2e-3)})
    assert figure.values == [2.0, 2.0]
    assert figure.beside == "3 bytes a number at 6.0 GB/s, numpy's a += b in 2 threads"


def test_times_are_told_in_the_unit_that_fits():
    assert [in_words(each) for each in (1.5, 0.0123, 0.0000456)] == ["1.5 s", "12.3 ms", "45.6 µs"]


def test_both_are_measured_in_turn_and_the_first_round_does_not_count():
    order = []

    def take(name):
        order.append(name)
        return float(len(order))

    ours, theirs = side_by_side(3, lambda: take("a"), lambda: take("b"))
    assert "".join(order) == "baabbaab"
    assert (ours, theirs) == ((3.0, 6.0, 7.0), (4.0, 5.0, 8.0))


def test_checkpoints_are_measured_and_leave_nothing(tmp_path, capsys, monkeypatch):
    """On a small model instead of ResNet-50."""
    full = checkpoint._config
    model = {"name": "mlp", "args": {"in_features": 3 * 32 * 32, "num_classes": 10}}
    monkeypatch.setattr(checkpoint, "_config", lambda output: full(output).replace(model=model))
    assert main(["checkpoint", "--folder", str(tmp_path), "--threads", "1", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("processor ") and "threads 1" in lines[0]
    assert [line.split("  ")[0] for line in lines[1:4]] == [
        "what",
        lines[2].split("  ")[0],
        "the speed of writing it",
    ]
    assert lines[4].endswith(" of 2 aims hold")
    found = json.loads(lines[5])["figures"]
    assert [len(each["ours"]) for each in found] == [15, 15]
    assert all(min(each["ours"] + each["theirs"]) > 0 for each in found)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--models", "mlp"], "--models: checkpoint has no choice of models: only step and aims have\n"),
        (
            ["--models", "mlp,vgg"],
            "--models: expected some of mlp, lenet, resnet18-32, resnet18-64, resnet50, mobilenet, encoder, unet, got 'vgg'\n",
        ),
        (["--rounds", "3"], "--rounds: expected an integer >= 5, got 3: fewer are not significant\n"),
        (["--folder", "nowhere"], "--folder: nowhere: there is no such folder\n"),
        (["--threads", "none"], "--threads: expected an integer from 1 to 1024 or auto, got 'none'\n"),
        (["--threads", "1025"], "--threads: expected an integer from 1 to 1024 or auto, got '1025'\n"),
    ],
)
def test_bad_arguments(arguments, said, capsys):
    assert main(["checkpoint", "--threads", "1", *arguments]) == 2
    assert capsys.readouterr().err == said
