"""Comparisons of runs that a test wrote by hand: values derived by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from scipy import stats
from support.comparisons import FAST, SLOW, refused
from support.written_runs import accuracies, evaluated, write_run

import ppema
from ppema.checkpoint.state import BEGINNING
from ppema.checkpoint.waiting import Waiting
from ppema.log.history import Started


def test_means_and_spreads_are_over_seeds(runs):
    found = ppema.compare(runs)
    assert [(row.group, row.weights, len(row.runs)) for row in found.rows] == [
        (group, weights, 3) for group in ("slow", "fast") for weights in ("raw", "ema")
    ]
    raw, ema, *_ = (row.figure("accuracy") for row in found.rows)
    assert raw.values == (0.90, 0.91, 0.92)
    assert (raw.mean, raw.spread) == (pytest.approx(0.91), pytest.approx(0.01))
    # The mean of 0.92, 0.92, 0.95 is 0.93; their sample variance is (1 + 1 + 4)·10⁻⁴/2.
    assert (ema.mean, ema.spread) == (pytest.approx(0.93), pytest.approx(math.sqrt(3) / 100))
    assert found.best("accuracy") == pytest.approx(0.96)
    assert found.settings == {"lr.args.learning_rate": {"slow": 0.1, "fast": 0.2}}


def test_tests_are_paired_by_seed(runs):
    """An average and raw share all seeds of their group; the groups share seeds 0 and 1."""
    found = {each.words: each for each in ppema.compare(runs).contrasts}
    assert list(found) == ["ema - raw, slow", "ema - raw, fast", "fast - slow, raw", "fast - slow, ema"]
    for name, values in (("slow", SLOW), ("fast", FAST)):
        test, theirs = found[f"ema - raw, {name}"].test, stats.ttest_rel(*zip(*(v[::-1] for v in values.values()), strict=True))
        assert (test.n, test.p, test.exact) == (3, pytest.approx(theirs.pvalue), 0.25)
    groups = found["fast - slow, ema"].test
    # 0.02 and 0.03: the quantile of 0.975 with one degree of freedom is tan(0.475·π).
    assert (groups.n, groups.difference) == (2, pytest.approx(0.025))
    assert groups.high == pytest.approx(0.025 + math.tan(0.475 * math.pi) * 0.005)
    # Of four tests, the smallest p is multiplied by 4.
    smallest = min(found.values(), key=lambda each: each.test.p)
    assert smallest.adjusted == pytest.approx(min(1.0, 4 * smallest.test.p))


def test_a_target_is_reached_at_the_first_evaluation_that_has_it(tmp_path):
    """Steps without an evaluation are not interpolated. A run that never has it does not count in the mean."""
    curves = {
        0: {10: 0.5, 20: 0.8, 30: 0.7, 40: 0.9},
        1: {10: 0.5, 20: None, 30: 0.8, 40: 0.9},
        2: dict.fromkeys((10, 40), 0.7),
    }
    paths = [write_run(tmp_path / f"a-s{s}", evaluated("raw", curve), f"seed={s}") for s, curve in curves.items()]
    found = ppema.compare(paths, target=0.8)
    (row,) = found.rows
    assert [run.name for run in row.reaching] == list(map(str, paths[:2]))
    assert row.steps_to_target.values == (20, 30)
    assert (row.seconds_to_target.mean, row.seconds_to_target.spread) == (12.5, pytest.approx(math.sqrt(12.5)))
    assert "a      raw       2 of 3  25 ± 7  12.50 ± 3.54" in found.text().splitlines()
    assert "steps and seconds are means over the runs that reached the target" in found.notes


def test_the_target_of_a_loss_is_reached_from_above(tmp_path):
    records = [*evaluated("raw", {10: 0.5}, loss=0.9), *evaluated("raw", {20: 0.6}, loss=0.4)]
    path = write_run(tmp_path / "a", records)
    assert ppema.compare(path, metric="loss", target=0.5).rows[0].steps_to_target.values == (20,)


def test_the_objective_chooses_the_evaluation_of_all_figures(tmp_path):
    records = [
        *evaluated("raw", {20: 0.9}, loss=0.3),
        *evaluated("raw", {30: 0.9}, loss=0.2),
        *evaluated("raw", {40: 0.8}, loss=0.1),
    ]
    path = write_run(tmp_path / "a", records)
    for objective, step, accuracy, loss in (("last", 40, 0.8, 0.1), ("best", 20, 0.9, 0.3)):
        (row,) = ppema.compare([path], objective=objective).rows
        assert (row.steps.mean, row.figure("accuracy").mean, row.figure("loss").mean) == (step, accuracy, loss)
    assert any("they are slightly too good" in note for note in ppema.compare([path], objective="best").notes)


def test_a_figure_that_is_not_finite_is_not_averaged_away(tmp_path):
    paths = [write_run(tmp_path / f"a-s{s}", accuracies(raw=value), f"seed={s}") for s, value in enumerate((0.5, None))]
    found = ppema.compare(paths)
    assert found.rows[0].figure("accuracy").mean is None
    assert found.notes[0] == f"accuracy of raw is not finite in {paths[1]}"


def test_a_metric_without_a_direction_needs_one(tmp_path):
    path = write_run(
        tmp_path / "a", [{**each, "skew": 0.5} for each in accuracies(raw=0.5)], metrics="[accuracy, {name: m.skew}]"
    )
    assert ppema.compare(path, metric="skew").best("skew") is None
    assert refused(path, metric="skew", target=0.1) == "mode: is 'skew' best at its max or its min? Say which: max or min"
    assert ppema.compare(path, metric="skew", target=0.6, mode="min").rows[0].steps_to_target.values == (40,)


def test_groups_without_a_common_seed_are_not_one_run(tmp_path):
    paths = [
        write_run(tmp_path / f"{name}-s{seed}", accuracies(raw=0.5), f"seed={seed}", f"lr={lr}")
        for name, lr, seeds in (("a", 1, (0, 1)), ("b", 2, (2, 3)))
        for seed in seeds
    ]
    assert ppema.compare(paths).notes == ("groups without a common seed have no pairs: train them with the same seeds",)


def test_unfinished_runs_are_marked(tmp_path):
    paths = [write_run(tmp_path / f"a-s{s}", evaluated("raw", {step: 0.5}), f"seed={s}") for s, step in enumerate((40, 20))]
    found = ppema.compare(paths)
    assert found.notes[0] == f"unfinished: {paths[1]} (step 20 of 40)"
    assert "2 (1 unfinished)" in found.text()


def test_an_early_stop_is_an_end(tmp_path):
    """The last checkpoint has its state, which is read for a run that is shorter than its config says."""
    path = write_run(tmp_path / "a", evaluated("ema", {10: 0.5, 20: 0.4}), "train.early_stop={patience: 1}")
    for waited, finished in ((0, False), (1, True)):
        run = ppema.run(path)
        waiting = Waiting("ema/accuracy", 0.5, 10, 10, 20, waited)
        run.__dict__["last"] = SimpleNamespace(manifest=SimpleNamespace(state=BEGINNING, early_stop=waiting))
        assert ppema.compare([run]).rows[0].runs[0].is_finished is finished
    assert not ppema.compare(path).rows[0].runs[0].is_finished


def test_machines_that_differ_are_noted(runs):
    for path, paddle in zip(runs, ("3.3.1", "2.6.2"), strict=False):
        start = Started(
            time="2026-01-01T00:00:00+00:00", ppema="1", paddle=paddle, python="3", system="L", processor="p", cores=2
        )
        with open(f"{path}/history.jsonl", "w") as file:
            file.write(start.model_dump_json() + "\n")
    assert "Paddle differs: 3.3.1 in slow-s0; 2.6.2 in slow-s1" in ppema.compare(runs[:2]).notes
