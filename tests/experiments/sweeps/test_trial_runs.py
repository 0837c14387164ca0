"""The trials of a sweep, with a light stand-in for the training: how they end, are pruned, and go on after a kill."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from support import trainee
from support.sweeps import TRAINEE, launcher, ledger, space, swept

from ppema.experiments.sweeps.sweeping import run_sweep


def test_a_failed_trial_is_recorded_and_the_others_go_on(here):
    results = swept(["lr=1e3,0.01,0.5"], "grid", None)
    assert [(each.state, each.error) for each in results.trials] == [
        ("failed", "the loss is not finite"),
        ("complete", None),
        ("failed", "lr: this is no rate"),
    ]
    assert [run.state for run in results.trials[0].runs] == ["failed"]
    assert results.best == 1
    now = datetime.now().astimezone()
    begun = now - timedelta(minutes=2)
    assert all(each.started and each.ended and begun <= each.started <= each.ended <= now for each in results.trials)


def test_a_trial_below_the_median_is_pruned_and_its_state_saved(here, monkeypatch):
    monkeypatch.setenv("TRAINEE_STEPS", "10")
    monkeypatch.setenv("TRAINEE_SECONDS", "0.03")
    results = swept(["lr=0.01,0.02,0.03,0.04,0.05,1e-6"], "grid", None, prune=True, prune_after=0.4)
    assert [each.state for each in results.trials] == ["complete"] * 5 + ["pruned"]
    (run,) = results.trials[5].runs
    assert (
        run.state == "pruned" and run.step is not None and 4 <= run.step < 10 and run.value == trainee.value(1e-6, 0, run.step)
    )
    assert trainee.saved(run.output) >= run.step
    # Its figures are of fewer steps than those of the others.
    assert (results.trials[5].value, results.trials[5].spread) == (None, None)
    assert results.best == 0


def test_tpe_avoids_values_with_which_trainings_diverged(here):
    """Optuna's sampler learns from pruned trials, and ignores failed ones."""
    results = swept(["lr=1e3,1e6,0.01"], "tpe", 12)
    study = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend("s/study.journal")))
    ends = {(each.params["lr"], told.state.name, each.state) for each, told in zip(results.trials, study.trials, strict=True)}
    assert ends == {(1e3, "PRUNED", "failed"), (1e6, "FAIL", "failed"), (0.01, "COMPLETE", "complete")}
    assert {each.error for each in results.trials if each.params["lr"] == 1e3} == {"the loss is not finite"}


def test_a_killed_training_goes_on_and_fails_if_it_comes_no_further(here, monkeypatch):
    monkeypatch.setenv("TRAINEE_DIES", "1")
    (first,) = swept(["lr=0.1"], "grid", None).trials
    assert (first.state, first.error) == (
        "failed",
        "SIGKILL ended the training twice before its first checkpoint, as the system does when memory is short",
    )
    # Before the third step, whose predecessor is saved, it dies once.
    monkeypatch.setenv("TRAINEE_DIES", "3")
    results = run_sweep(space(["lr=0.1"], "grid", None), "t", launcher=TRAINEE).results
    assert [each.state for each in results.trials] == ["complete"]
    assert ledger(here) == ["0000-s0"]


def test_a_killed_training_that_saves_before_its_first_evaluation_goes_on(here):
    code = (
        "if attempt < 4:\n"
        "    os.makedirs(f'{output}/checkpoints/step-{attempt:08d}')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "evaluate(4)\n"
    )
    (trial,) = swept(["lr=0.1"], "grid", None, launcher=launcher(here, code)).trials
    assert (trial.state, trial.value) == ("complete", 0.5)


def test_a_killed_training_that_evaluates_and_saves_nothing_new_fails(here):
    code = (
        "os.makedirs(f'{output}/checkpoints/step-00000002', exist_ok=True)\n"
        "evaluate(*range(3, 8 - attempt))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (trial,) = swept(["lr=0.1"], "grid", None, launcher=launcher(here, code)).trials
    assert trial.error == (
        "SIGKILL ended the training twice after its checkpoint of step 2, as the system does when memory is short"
    )
    assert sorted(os.listdir("s/trials/0000-s0/attempts")) == ["1", "2"]


def test_an_advice_at_the_end_of_a_run_does_not_keep_later_runs_from_being_pruned(here):
    """The first seed has ended before the advice; the second one of a bad rate is slow."""
    code = (
        f"sys.path.insert(0, {str(Path(trainee.__file__).parent)!r})\n"
        "import trainee\n"
        "slow = 'seed=1' in sys.argv and 'lr=0.0001' in sys.argv\n"
        "os.environ['TRAINEE_SECONDS'] = '4' if slow else '0.001'\n"
        "sys.exit(trainee.main(sys.argv[1:]))\n"
    )
    results = swept(
        ["lr=0.01,0.011,0.012,0.013,0.014,0.0001"], "grid", None, seeds=2, prune=True, launcher=launcher(here, code)
    )
    assert [run.state for run in results.trials[5].runs] == ["complete", "pruned"]
    assert [each.state for each in results.trials] == ["complete"] * 5 + ["pruned"]


# Waits until two runs have begun; no more than two may be in training.
_TWO_AT_A_TIME = """
import glob, time
os.makedirs('going', exist_ok=True)
mine = f'going/{os.getpid()}'
open(mine, 'w').close()
for _ in range(400):
    if len(os.listdir('going')) > 2: sys.exit('three at a time')
    if len(glob.glob('s/trials/*/attempts/1')) > 1: break
    time.sleep(0.05)
else:
    sys.exit('alone')
"""


def test_jobs_that_no_trial_needs_train_further_seeds(here):
    """They are reported as if they had been trained one after the other."""
    code = (
        f"{_TWO_AT_A_TIME}"
        f"sys.path.insert(0, {str(Path(trainee.__file__).parent)!r})\n"
        "import trainee\n"
        "code = trainee.main(sys.argv[1:])\n"
        "os.remove(mine)\n"
        "sys.exit(code)\n"
    )
    (trial,) = swept(["lr=0.01"], "grid", None, seeds=3, jobs=2, launcher=launcher(here, code)).trials
    values = [trainee.value(0.01, seed, 4) for seed in range(3)]
    assert trial.error is None and [run.value for run in trial.runs] == values
    assert [run.output for run in trial.runs] == [f"s/trials/0000-s{seed}" for seed in range(3)]
    study = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend("s/study.journal")))
    assert list(study.trials[0].intermediate_values) == list(range(25, 301, 25))
    assert study.trials[0].value == pytest.approx(sum(values) / 3)


def test_a_failed_run_stops_the_further_seeds_of_its_trial(here):
    code = """
import time
if 'seed=0' in sys.argv:
    for _ in range(1000):
        if os.path.exists('ready'): break
        time.sleep(0.02)
    sys.exit('no luck')
def stop(*_):
    open(f'{output}/stopped', 'w').close()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
open('ready', 'w').close()
time.sleep(60)
"""
    (trial,) = swept(["lr=0.01"], "grid", None, seeds=3, jobs=2, launcher=launcher(here, code)).trials
    assert (trial.state, trial.error) == ("failed", "no luck")
    assert Path("s/trials/0000-s1/stopped").exists() and not Path("s/trials/0000-s2").exists()
