"""The report of a sweep: its trials, its charts, and the weights of the best trial."""

from __future__ import annotations

import math
import re
import statistics
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest
from support.html_pages import page_at
from support.reported_runs import written_config, written_run, written_sweep
from test_run_page import EVIL, check, facts

import ppema
from ppema.experiments.pages.chart import Curve, draw
from ppema.experiments.sweeps.sweep_folder import SWEEP, TRIALS, read_results, write_results
from ppema.log.history import recorded
from ppema.log.records import read_metrics

KEYS = ("lr.args.learning_rate", "averages.ema.decay", "optimizer.name")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    config = written_config(folder / "mine.yml", "lr=0.01", "averages.ema.decay=0.9", "seed=0", "output=x")
    results = written_sweep(folder / "sweep", config, 20)
    with recorded(folder / "sweep/trials" / f"{results.best:04d}-s0", config, paddle="3.3.1"):
        pass
    return folder / "sweep"


def test_every_trial_with_its_values(sweep):
    page, results = page_at(ppema.report(sweep)), read_results(sweep)
    check(page)
    complete = sum(trial.state == "complete" for trial in results.trials)
    assert f"Chosen on data.eval among {complete} trials: measure it on data that chose nothing." in page.text
    rows = [row for row in page.rows() if len(row) == 7 and row[0].isdecimal()]
    assert [int(row[0]) for row in rows] == [trial.number for trial in results.ranked()]
    for row, trial in zip(rows, results.ranked(), strict=True):
        star = " ★" * (trial.number == results.best)
        value = "–" if trial.value is None else f"{trial.value:.4f}{star}"
        spread = "–" if trial.spread is None else f"{trial.spread:.4f}"
        rate, decay, optimizer = (trial.params[key] for key in KEYS)
        failed = ": exit code 1: the loss is not finite" * (trial.state == "failed")
        assert row[1:] == [repr(rate), str(decay), optimizer, value, spread, f"{trial.state}{failed}"]


def test_its_charts_have_a_point_for_every_complete_trial(sweep):
    page, results = page_at(ppema.report(sweep)), read_results(sweep)
    complete = sum(trial.state == "complete" for trial in results.trials) - 1  # the best one is another mark
    dots = {each["id"]: each["d"].count("h0") for each in page.tags("path") if "dots" in (each.get("class") or "")}
    for chart in ("key0", "key1", "key2"):
        assert [dots[f"{chart}-{index}"] for index in range(2)] == [complete, 1]
    # The best so far goes on until a trial is better: no part of the line is oblique.
    (order,) = (each["d"] for each in page.tags("path") if each.get("id") == "order-0")
    corners = re.findall(r"[ML]([\d.]+) ([\d.]+)", order)
    assert len(corners) > 2 and all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(corners))
    # Values over epochs of the 20 best trials, the best one last, above the others.
    drawn = [each for each in page.tags("path") if (each.get("id") or "").startswith("best-")]
    assert len(drawn) == 20 and drawn[-1]["data-name"] == f"trial {results.best}" and drawn[-1]["class"] == "curve best"
    records = read_metrics(sweep / "trials" / f"{results.best:04d}-s0")
    expected = [each["accuracy"] for each in records if each["weights"] == "ema"]
    assert [y for _, y in page.curve("best-19")][5:] == pytest.approx(expected[5:], abs=2e-3)


def test_a_logarithmic_axis_and_places_for_names(sweep):
    """Equal ratios of the rate are equal distances; the decays lie side by side, in their order."""
    page, results = page_at(ppema.report(sweep)), read_results(sweep)
    (path,) = (each["d"] for each in page.tags("path") if each.get("id") == "key0-0")
    xs = [float(x) for x in re.findall(r"M([\d.]+) ", path)]
    rates = [t.params[KEYS[0]] for t in results.trials if t.state == "complete" and t.number != results.best]
    a, c, b = sorted(range(3), key=lambda each: rates[each])
    ratio = (xs[c] - xs[a]) / (xs[b] - xs[a])
    assert ratio == pytest.approx(math.log(rates[c] / rates[a]) / math.log(rates[b] / rates[a]), rel=0.01)
    ticks = re.search(r'id="key1-about".*?</svg>', page.source, re.DOTALL)
    assert ticks and re.findall(r'text-anchor="middle">(0\.9+)<', ticks[0]) == ["0.9", "0.99", "0.999"]


def test_settings_are_exact_and_each_value_has_its_place(sweep, tmp_path):
    """Rounded to four digits, three of these decays would be 1."""
    decays, results = (0.99995, 0.9999, 0.9999999, 0.99999), read_results(sweep)
    trials = [trial for trial in results.trials if trial.state == "complete"][:4]
    found = [t.model_copy(update={"params": {KEYS[1]: decay}}) for t, decay in zip(trials, decays, strict=True)]
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / SWEEP).touch()
    over = {KEYS[1]: "0.9999..", "train.monitor": "a,b"}
    write_results(
        results.model_copy(update={"output": str(tmp_path / "sweep"), "trials": tuple(found), "over": over, "best": None})
    )
    page = page_at(ppema.report(tmp_path / "sweep"))
    rows = {int(row[0]): row[1:3] for row in page.rows() if row[0].isdecimal()}
    assert rows == {trial.number: [repr(decay), "–"] for trial, decay in zip(trials, decays, strict=True)}
    ticks = re.search(r'id="key0-about".*?</svg>', page.source, re.DOTALL)
    assert ticks and re.findall(r'text-anchor="middle">(0\.9+5?)<', ticks[0]) == ["0.9999", "0.99995", "0.99999", "0.9999999"]
    (path,) = (each["d"] or "" for each in page.tags("path") if each.get("id") == "key0-0")
    assert len(set(re.findall(r"M([\d.]+) ", path))) == 4


def changed(results, folder, trials, **keys):
    """The page of the sweep with other `trials`, in the new `folder`, in which their runs are as well."""
    results = results.model_copy(update={"output": str(folder), "trials": tuple(trials), **keys})
    (folder / TRIALS).mkdir(parents=True)
    (folder / SWEEP).touch()
    for trial in trials:
        for run in trial.runs:
            (folder / TRIALS / Path(run.output).name).symlink_to(run.output)
    write_results(results)
    return page_at(ppema.report(folder))


def test_axes_have_the_form_that_the_user_gave(sweep, tmp_path):
    """Ranges are axes of numbers even for few values, and logarithmic only if they were; lists are places side by side."""
    results = read_results(sweep)
    trials = [trial for trial in results.trials if trial.state == "complete"][:3]
    values = {"width": (4, 8, 32), "rate": (0.02, 0.04, 0.16), "share": (0.01, 0.5, 0.9), "decay": (0.9, 0.99, 0.999)}
    found = [
        trial.model_copy(update={"params": {key: each[index] for key, each in values.items()}})
        for index, trial in enumerate(trials)
    ]
    over = {"width": "int:4..32", "rate": "log:1e-2..2e-1", "share": "0.01..0.9", "decay": "0.9, 0.99, 0.999"}
    page = changed(results, tmp_path / "sweep", found, over=over, best=None)
    check(page)
    xs = {each["id"]: list(map(float, re.findall(r"M([\d.]+) ", each["d"]))) for each in page.tags("path") if "id" in each}
    shares = [
        (xs[f"key{index}-0"][1] - xs[f"key{index}-0"][0]) / (xs[f"key{index}-0"][2] - xs[f"key{index}-0"][0])
        for index in range(4)
    ]
    assert shares == pytest.approx([4 / 28, 1 / 3, 0.49 / 0.89, 0.5], abs=2e-3)


def test_it_says_how_many_curves_are_drawn_and_with_which_settings(sweep, tmp_path):
    results = read_results(sweep)
    complete = [trial for trial in results.trials if trial.state == "complete"][:3]
    found = [
        *(trial.model_copy(update={"params": {"a.lr": 0.01178144, "decay": 0.99995}}) for trial in complete),
        results.trials[6].model_copy(update={"runs": (), "params": {"a.lr": 1.0, "decay": 0.5}}),
    ]
    page = changed(results, tmp_path / "sweep", found, over={"a.lr": "log:1e-3..1", "decay": "0.5, 0.99995"}, best=1)
    assert "3 trials have a curve, that of the first seed." in page.text
    for number in (0, 1, 2):
        assert f"trial {number}: lr 0.01178, decay 0.99995\n" in page.text
    assert "20 trials have a curve, that of the first seed: the best ones." in page_at(ppema.report(sweep)).text


def test_its_time_is_from_the_first_start_to_the_last_end_of_a_trial(sweep, tmp_path):
    """Trials that fail early have no history; these have no other source."""
    results, begun = read_results(sweep), datetime(2026, 1, 31, 23, 59, tzinfo=timezone(timedelta(hours=2)))
    times = [(0, 30), (10, 40), (30, 132), (40, None)]
    found = [
        trial.model_copy(
            update={
                "runs": (),
                "started": begun + timedelta(seconds=start),
                "ended": None if end is None else begun + timedelta(seconds=end),
            }
        )
        for trial, (start, end) in zip(results.trials, times, strict=False)
    ]
    assert facts(changed(results, tmp_path / "sweep", found))["took"] == "2 min 12 s"
    assert facts(page_at(tmp_path / "sweep/report.html"))["started"] == "<time>2026-01-31 23:59 +0200</time>"


def test_ticks_of_a_narrow_axis_differ():
    drawn = draw("a", "loss", "decay", [Curve("a", [0.999999, 0.9999999], [0.1, 0.1 + 1e-9], "c1")])
    assert drawn is not None
    for ticks in (drawn.x_ticks, drawn.y_ticks):
        assert len({tick.text for tick in ticks}) == len(ticks) > 2


def test_the_weights_of_the_best_trial_over_its_seeds(sweep):
    page, results = page_at(ppema.report(sweep)), read_results(sweep)
    folders = [sweep / "trials" / f"{results.best:04d}-s{seed}" for seed in (0, 1)]
    lasts = [[each for each in read_metrics(folder) if each["weights"] == "slow"][-1]["accuracy"] for folder in folders]
    assert ["slow", f"{statistics.fmean(lasts):.4f}", f"{statistics.stdev(lasts):.4f}"] in page.rows()


def test_the_config_that_the_trials_share(sweep):
    page = page_at(ppema.report(sweep))
    assert [KEYS[0], "log:1e-3..1e-1"] in page.rows()
    assert ["train.epochs", "100", "mine.yml:9:9"] in [
        [*row[:2], row[2].rpartition("/")[2]] for row in page.rows() if len(row) == 3
    ]
    assert not any(len(row) == 3 and row[0] in (*KEYS, "seed", "output") for row in page.rows())
    assert "the average 'slow' has a window of 1000 steps (40 runs)" in page.text


def test_a_trial_of_it_alone_says_which_keys_the_sweep_set(sweep):
    results = read_results(sweep)
    rows = page_at(ppema.report(sweep / "trials" / f"{results.best:04d}-s0", sweep.parent / "a.html")).rows()
    places = {row[0]: row[2] for row in rows if len(row) == 3}
    assert (places[KEYS[0]], places[KEYS[1]], places["seed"]) == ("sweep", "sweep", "override")


def test_a_swept_key_in_its_short_form(sweep):
    results = read_results(sweep)
    write_results(results.model_copy(update={"over": {"lr": "0.1,0.01"}}))
    try:
        rows = page_at(ppema.report(sweep / "trials" / f"{results.best:04d}-s0", sweep.parent / "a.html")).rows()
        shared = page_at(ppema.report(sweep, sweep.parent / "b.html")).rows()
    finally:
        write_results(results)
    assert ["lr.args.learning_rate", "0.01", "sweep"] in rows
    assert not any(row[0].startswith("lr.") for row in shared if len(row) == 3)


def test_two_hundred_trials_are_small(tmp_path):
    written_sweep(tmp_path / "sweep", written_config(tmp_path / "c.yml"), 200, seeds=1, count=4)
    assert ppema.report(tmp_path / "sweep").stat().st_size < 2_000_000


def test_a_sweep_that_has_only_begun_and_what_looks_like_html(tmp_path):
    results = written_sweep(tmp_path / "sweep", written_config(tmp_path / "c.yml"), 7, seeds=1, count=2)
    waiting = [
        trial.model_copy(update={"state": "failed", "value": None, "runs": (), "error": EVIL, "params": {EVIL: [EVIL]}})
        for trial in results.trials
    ]
    write_results(results.model_copy(update={"trials": tuple(waiting), "best": None, "over": {EVIL: EVIL}, "monitor": EVIL}))
    page = page_at(ppema.report(tmp_path / "sweep"))
    check(page)
    assert "No trial has a value yet." in page.text and page.text.count(EVIL) == 4 + 7 * 2
    (tmp_path / "sweep/results.json").unlink()
    with pytest.raises(ppema.errors.PpemaError, match=r"results.json: there is no such file: no trial has ended yet$"):
        ppema.report(tmp_path / "sweep")


def test_a_run_in_a_folder_called_trials_is_no_trial(tmp_path):
    run = written_run(tmp_path / "trials/0000-s0", config := written_config(tmp_path / "c.yml", "lr=1"), [])
    with recorded(run, config):
        pass
    assert not (tmp_path / SWEEP).exists()
    places = {row[0]: row[2] for row in page_at(ppema.report(run)).rows() if len(row) == 3}
    assert places["lr.args.learning_rate"] == "override"
