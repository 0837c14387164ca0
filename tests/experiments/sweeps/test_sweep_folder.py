"""The folder of a sweep: its runs, and results.json."""

from __future__ import annotations

import math
import statistics

import pytest

from ppema.errors import PpemaError
from ppema.experiments.seed_statistics import mean_and_spread
from ppema.experiments.sweeps.sweep_folder import (
    BestLength,
    RunResult,
    SweepResults,
    TrialResult,
    best_trial,
    is_sweep,
    read_results,
    runs_of,
    trial_folder,
    write_results,
)

LENGTH = BestLength(name="sigma_rel 0.05", sigma_rel=0.05, value=0.95)


def trial(number, value, state="complete", **keys):
    return TrialResult(number=number, state=state, params={"lr.args.learning_rate": 0.1 * number}, value=value, **keys)


def results(folder, trials, mode="max"):
    return SweepResults(
        output=str(folder),
        config="configs/small.yml",
        method="grid",
        monitor="ema/accuracy",
        mode=mode,
        over={"lr.args.learning_rate": "0.0,0.1"},
        seeds=(0, 1),
        trials=tuple(trials),
        best=best_trial(trials, mode),
    )


def folder_of_runs(folder, *trials):
    (folder / "sweep.yml").parent.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.yml").write_text("")
    for number, seed in trials:
        run = trial_folder(folder, number, seed)
        run.mkdir(parents=True)
        (run / "config.yml").write_text("")


def test_runs_of_a_sweep_are_in_order(tmp_path):
    trials = [(0, 2), (0, 10), (3, 0), (12345, 0)]
    folder_of_runs(tmp_path, *reversed(trials))
    (tmp_path / "trials/0004-s0").mkdir()  # a trial without a run
    (tmp_path / "trials/notes").mkdir()
    assert runs_of(tmp_path) == [trial_folder(tmp_path, *each) for each in trials]
    run = trial_folder(tmp_path, 3, 0)
    assert runs_of(run) == [run]
    assert is_sweep(tmp_path) and not is_sweep(run)


def test_a_sweep_that_has_not_begun_has_no_runs(tmp_path):
    folder_of_runs(tmp_path)
    assert runs_of(tmp_path) == []


def test_results_are_read_as_they_were_written(tmp_path):
    runs = (RunResult(seed=0, output=str(trial_folder(tmp_path, 1, 0)), value=0.9, step=40, state="complete", length=LENGTH),)
    before = results(tmp_path, [trial(0, None, "failed", error="out of memory"), trial(1, 0.9, runs=runs, length=LENGTH)])
    write_results(before)
    assert read_results(tmp_path) == before
    assert [each.name for each in tmp_path.iterdir()] == ["results.json"]


def test_results_of_a_moved_sweep_name_its_new_folder(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    folder_of_runs(old, (1, 0))
    runs = (RunResult(seed=0, output=str(trial_folder(old, 1, 0)), state="running"),)
    write_results(results(old, [trial(1, None, "running", runs=runs)]))
    old.rename(new)
    found = read_results(new)
    assert (found.output, found.trials[0].runs[0].output) == (str(new), str(trial_folder(new, 1, 0)))


@pytest.mark.parametrize("text", ['{"output": 1}', "{", "[]", '{"best": "\\ud800"}'])
def test_damaged_results_are_refused(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(PpemaError, match="^[^\n]*results.json: damaged, or not of ppema: [^\n]*$"):
        read_results(tmp_path)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(PpemaError, match=r"results.json: there is no such file: this is no folder of a sweep$"):
        read_results(tmp_path)
    folder_of_runs(tmp_path)
    with pytest.raises(PpemaError, match=r"results.json: there is no such file: no trial has ended yet$"):
        read_results(tmp_path)


def test_mean_and_spread_need_every_value():
    values = [0.9, 0.92, 0.97]
    assert mean_and_spread(values) == (pytest.approx(statistics.fmean(values)), pytest.approx(statistics.stdev(values)))
    assert mean_and_spread([0.5]) == (0.5, None)
    for missing in ([0.9, None], [0.9, math.nan], []):
        assert mean_and_spread(missing) == (None, None)


def test_only_complete_trials_can_be_best():
    trials = [trial(0, 0.5), trial(1, 0.9, "pruned"), trial(2, 0.7), trial(3, 0.7), trial(4, None), trial(5, 0.1, "failed")]
    assert (best_trial(trials, "max"), best_trial(trials, "min")) == (2, 0)
    assert best_trial([trials[1], trials[4]], "max") is None


def test_trials_are_ranked_by_value_and_state(tmp_path):
    trials = [trial(0, 0.5), trial(1, None), trial(2, 0.7), trial(3, 0.9, "pruned"), trial(4, None, "waiting")]
    trials.append(trial(5, 0.8, "pruned"))  # by an earlier version, which gave it a value
    assert [each.number for each in results(tmp_path, trials).ranked()] == [2, 0, 1, 3, 4, 5]
    assert [each.number for each in results(tmp_path, trials, "min").ranked()] == [0, 2, 1, 3, 4, 5]
