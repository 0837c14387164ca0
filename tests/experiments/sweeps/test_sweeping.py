"""Sweeps with a light stand-in for the training: their results, and how they stop, end and go on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from support import trainee
from support.html_pages import page_at
from support.sweeps import CONFIG, TRAINEE, launcher, ledger, started, swept, trainings, until

import ppema
from ppema.cli.main import main as cli
from ppema.errors import PpemaError, TrainingError
from ppema.experiments.sweeps import seed_run, sweeping
from ppema.experiments.sweeps.search.space_checks import space_of
from ppema.experiments.sweeps.sweep_folder import read_results
from ppema.experiments.sweeps.sweeping import run_sweep


def test_a_grid_and_what_optuna_has_of_it(here, capfd):
    results = swept(["lr=0.1,0.01", "averages.ema.decay=0.9,0.99"], "grid", None, seeds=2, jobs=2)
    assert [each.params for each in results.trials] == [
        {"lr": lr, "averages.ema.decay": decay} for lr in (0.1, 0.01) for decay in (0.9, 0.99)
    ]
    for trial in results.trials:
        values = [trainee.value(trial.params["lr"], seed, 4) for seed in (0, 1)]
        assert [run.value for run in trial.runs] == values
        assert trial.value == pytest.approx(sum(values) / 2, abs=1e-15)
        assert trial.spread == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=1e-15)
        assert [run.output for run in trial.runs] == [f"s/trials/{trial.number:04d}-s{seed}" for seed in (0, 1)]
    assert results.best == 2
    assert read_results("s") == results
    assert ledger(here) == [f"{number:04d}-s{seed}" for number in range(4) for seed in (0, 1)]
    said = capfd.readouterr().err
    assert "trial 2  complete  ema/accuracy 0.9255 ± 0.0007  lr=0.01  averages.ema.decay=0.9\n" in said
    journal = JournalStorage(JournalFileBackend("s/study.journal"))
    study = optuna.load_study(study_name="s", storage=journal)
    assert [(each.params, each.value) for each in study.trials] == [(each.params, each.value) for each in results.trials]
    # The second seed follows the first, with the mean so far.
    first, second = (trainee.value(0.1, seed, 3) for seed in (0, 1))
    reported = study.trials[0].intermediate_values
    assert list(reported) == [25, 50, 75, 100, 125, 150, 175, 200]  # hundredths of each run
    assert reported[75] == first
    assert reported[175] == pytest.approx((trainee.value(0.1, 0, 4) + second) / 2)
    assert page_at(Path("s/report.html")).text.count("complete") >= 4 and "report: s/report.html\n" in said
    assert sorted(os.listdir("s")) == [
        "report.html",
        "results.json",
        "study.journal",
        "study.journal.lock",
        "sweep.yml",
        "trials",
    ]
    # The same command again trains nothing.
    assert swept(["lr=0.1,0.01", "averages.ema.decay=0.9,0.99"], "grid", None, seeds=2, jobs=2) == results
    assert len(ledger(here)) == 8


def test_a_sweep_without_a_complete_trial_returns_1(here, monkeypatch, capsys):
    monkeypatch.setattr(sweeping, "ppema_command", lambda name: TRAINEE)
    command = ["sweep", "-c", CONFIG, "--monitor", "ema/accuracy", "--over", "lr=1e3,1e4", "--to", "s", "--json"]
    assert cli(command) == 1
    out = capsys.readouterr().out
    assert "to compare" not in out
    said = json.loads(out.splitlines()[-1])
    assert [each["error"] for each in said["trials"]] == ["the loss is not finite"] * 2
    assert said["best"] is None and said == json.loads(Path("s/results.json").read_text())


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.campaign)])
def test_a_sweep_that_ends_leaves_no_training_and_goes_on(here, monkeypatch, how):
    monkeypatch.setenv("TRAINEE_SECONDS", "2")
    process = started(3, 2, start_new_session=True)
    until(lambda: len(trainings(here)) == 2 and all(trainee.saved(f"s/trials/{n:04d}-s0") for n in (0, 1)))
    os.killpg(process.pid, how)  # As Ctrl-C in a terminal does.
    said = process.communicate()[1]
    assert process.returncode == (128 + how if how == signal.SIGINT else -how)
    if how == signal.SIGINT:
        assert "stopping after SIGINT: the trainings save first; again ends it at once\n" in said
        assert trainings(here) == []
        # The trainings did not see Ctrl-C: its second signal would end them at once.
        assert [Path(f"s/trials/{n:04d}-s0/process.log").read_text() for n in (0, 1)] == ["", ""]
        assert [each.state for each in read_results("s").trials] == ["waiting"] * 2
    until(lambda: trainings(here) == [])
    before = [trainee.saved(f"s/trials/{n:04d}-s0") for n in (0, 1)]
    assert all(0 < each < 4 for each in before)
    monkeypatch.setenv("TRAINEE_SECONDS", "0.05")
    results = swept(trials=3)
    assert [each.state for each in results.trials] == ["complete"] * 3
    assert ledger(here) == [f"{n:04d}-s0" for n in range(3)]


@pytest.mark.campaign
def test_two_sweeps_share_a_folder_and_both_see_the_end(here):
    processes = [started(6, 1), started(6, 1)]
    for each in processes:
        said = each.communicate()[1]
        assert each.returncode == 0, said
    results = read_results("s")
    assert [each.state for each in results.trials] == ["complete"] * 6
    assert ledger(here) == [f"{n:04d}-s0" for n in range(6)]


def test_a_page_may_be_written_during_the_first_trial(here, monkeypatch):
    monkeypatch.setenv("TRAINEE_SECONDS", "20")
    process = started(2, 1)
    until(lambda: trainee.text("s/trials/0000-s0/metrics.jsonl"))
    assert [each.state for each in read_results("s").trials] == ["running"]
    assert "running" in page_at(ppema.report("s")).text
    process.terminate()
    assert process.wait() == 128 + signal.SIGTERM


def test_a_changed_config_ends_the_sweep_before_its_next_training(here, monkeypatch):
    config = here / "own.yml"
    config.write_text(f"_base_: {CONFIG}\n")
    made = space_of(str(config), over=["lr=0.1,0.2"], monitor="ema/accuracy")
    config.write_text(f"_base_: {CONFIG}\ntrain: {{epochs: 3}}\n")
    with pytest.raises(PpemaError) as refused:
        run_sweep(made, "s", launcher=TRAINEE)
    assert str(refused.value) == (
        f"{config} has changed since the sweep began: train.epochs: was 20, now 3: change it back, and go on"
    )
    assert not Path("ledger").exists()


def test_a_full_disk_ends_the_sweep_and_fails_no_trial(here, monkeypatch):
    monkeypatch.setattr(seed_run, "LEAST_SPACE", 2**62)
    with pytest.raises(TrainingError, match="^s: the disk is full: free some space, and go on; no trial has failed$"):
        swept(["lr=1e3,0.01"], "grid", None, jobs=2)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert [each.state for each in read_results("s").trials] == ["waiting"] * 2


def test_a_sweep_that_an_error_ends_shows_its_table_and_how_to_go_on(here, monkeypatch, capsys):
    Path("own.yml").write_text(f"_base_: {CONFIG}\n")
    code = "open('own.yml', 'a').write('seed: 7\\n')\nevaluate(4)\n"
    command = launcher(here, code)
    monkeypatch.setattr(sweeping, "ppema_command", lambda name: command)
    assert cli(["sweep", "-c", "own.yml", "--monitor", "ema/accuracy", "--over", "lr=0.1,0.2", "--to", "s"]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines()[1:4] == [
        "trial  state      lr  accuracy",
        "    0  complete  0.1    0.5000",
        "    1  waiting   0.2         -",
    ]
    assert said.out.splitlines()[-1].endswith("sweep -c own.yml --monitor ema/accuracy --over lr=0.1,0.2 --to s")
    assert said.out.splitlines()[-1].startswith("to go on: ")
    assert said.err.splitlines()[-1] == (
        "own.yml has changed since the sweep began: seed: was 0, now 7: change it back, and go on"
    )
    # A sweep that all trials refuse has nothing to show.
    monkeypatch.setattr(sweeping, "ppema_command", lambda name: TRAINEE)
    assert cli(["sweep", "-c", CONFIG, "--monitor", "ema/accuracy", "--over", "lr=0.5,0.6", "--to", "t"]) == 2
    assert capsys.readouterr().out == ""
