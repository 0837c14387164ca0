"""Sweeps with a light stand-in for the training: claims, pruning, failures, stopping, going on, and kills."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from support import trainee
from support.html_pages import page_at
from support.sweeps import CONFIG, TRAINEE, ledger, space, started, swept, trainings, until

import ppema
from ppema.cli.main import main as cli
from ppema.errors import PpemaError, TrainingError
from ppema.experiments.sweeps import seed_run, sweeping
from ppema.experiments.sweeps.search.space_checks import space_of
from ppema.experiments.sweeps.sweep_folder import read_results
from ppema.experiments.sweeps.sweeping import run_sweep
from ppema.log import run_board

FORMS = "postgresql+psycopg://user@host/database, sqlite:///file.db or grpc://host:port"


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


def test_a_sweep_without_a_complete_trial_returns_1(here, monkeypatch, capsys):
    monkeypatch.setattr(sweeping, "ppema_command", lambda name: TRAINEE)
    command = ["sweep", "-c", CONFIG, "--monitor", "ema/accuracy", "--over", "lr=1e3,1e4", "--to", "s", "--json"]
    assert cli(command) == 1
    out = capsys.readouterr().out
    assert "to compare" not in out
    said = json.loads(out.splitlines()[-1])
    assert [each["error"] for each in said["trials"]] == ["the loss is not finite"] * 2
    assert said["best"] is None and said == json.loads(Path("s/results.json").read_text())


def test_a_config_that_every_trial_refuses_ends_the_sweep_and_waits(here, capfd):
    with pytest.raises(PpemaError, match="^all 3 trials so far fail: trial 0: lr: this is no rate$"):
        swept(["lr=0.5,0.6,0.7,0.8"], "grid", None)
    # The last point tells that no value of the first trial is at fault.
    assert [each.state for each in read_results("s").trials] == ["waiting"] * 4
    assert not Path("s/trials/0002-s0").exists()
    # With the cause removed, the same command trains them.
    results = swept(["lr=0.5,0.6,0.7,0.8"], "grid", None, launcher=[*TRAINEE, "--all-rates"])
    assert [each.state for each in results.trials] == ["complete"] * 4


@pytest.mark.parametrize(
    ("over", "failed"),
    [
        (["lr=0.5,0.6,0.7,0.01", "averages.ema.decay=0.9,0.99"], 6),  # refused, but not with every value
        (["lr=1,2,3,0.01"], 3),  # crashes of the model
        (["lr=2,3,4"], 3),
    ],
)
def test_values_that_are_refused_are_failed_trials_and_others_are_trained(here, over, failed):
    trials = swept(over, "grid", None).trials
    assert {each.error for each in trials[:failed]} <= {
        "lr: this is no rate",
        "--over lr: RuntimeError: too wide (models.py:3)",
    }
    states = [each.state for each in trials]
    assert states[:failed] == ["failed"] * failed and set(states[failed:]) <= {"complete"}


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


def test_a_larger_number_of_trials_extends_and_nothing_else_may_change(here):
    first = swept(trials=2).trials
    second = swept(trials=3).trials
    assert second[:2] == first and len(second) == 3
    journal = Path("s/study.journal").read_bytes()
    for said, arguments, options in (
        ("trials: s has 3 trials already: name at least as many", (), {"trials": 2}),
        (
            "s holds a sweep of another config: sweep.seeds: was 1, now 2: change it back, or name",
            (),
            {"trials": 3, "seeds": 2},
        ),
        (
            "s holds a sweep of another config: sweep.over.lr: was 'log:0.0001..0.4', now 'log:0.001..0.4'",
            (["lr=log:1e-3..0.4"],),
            {},
        ),
    ):
        with pytest.raises(PpemaError) as refused:
            swept(*arguments, **options)
        assert str(refused.value).startswith(said)
    assert Path("s/study.journal").read_bytes() == journal


def test_a_study_whose_runs_were_compared_by_steps_is_refused(here):
    """Of a version without `prune_after`: its reports are no hundredths of runs."""
    swept(trials=1)
    journal = Path("s/study.journal")
    text = journal.read_text()
    assert '"prune_after":0.5,' in text
    journal.write_text(text.replace('"prune_after":0.5,', ""))
    with pytest.raises(PpemaError, match="sweep.prune_after: was absent, now 0.5: change it back, or name another folder"):
        swept(trials=2)


def test_a_moved_sweep_goes_on_and_a_cut_journal_is_one_line(here):
    swept(trials=1)
    Path("s").rename("moved")
    results = run_sweep(space(trials=2), "moved", launcher=TRAINEE).results
    assert [each.runs[0].output for each in results.trials] == ["moved/trials/0000-s0", "moved/trials/0001-s0"]
    assert len(ledger(here)) == 2
    journal = Path("moved/study.journal")
    journal.write_bytes(journal.read_bytes()[:40])
    with pytest.raises(PpemaError, match=r"^the sweep's journal \(study.journal\) is cut: restore it from a copy, or name"):
        run_sweep(space(trials=2), "moved", launcher=TRAINEE)
    journal.unlink()
    with pytest.raises(PpemaError, match="^storage: moved began with another storage: "):
        run_sweep(space(trials=2), "moved", launcher=TRAINEE)
    assert not journal.exists()


def test_a_sweep_that_trained_nothing_does_not_block_its_folder(here):
    with pytest.raises(PpemaError, match="^all 3 trials so far fail"):
        swept(["lr=0.5,0.6,0.7"], "grid", None)
    assert [each.state for each in swept(["lr=0.01,0.1"], "grid", None).trials] == ["complete"] * 2
    with pytest.raises(PpemaError, match="^s holds a sweep of another config"):
        swept(["lr=0.01,0.2"], "grid", None)


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


def refused(folder, *arguments):
    """What `ppema sweep` says on stderr; it returns 2, and trains nothing."""
    command = ["sweep", "-c", CONFIG, "--monitor", "ema/accuracy", "--over", "lr=0.1,0.2", "--to", str(folder), *arguments]
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert cli(command) == 2
    assert not (Path(folder) / "trials").exists()
    return said.getvalue()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--storage", "study.db"], f"--storage: expected a URL such as {FORMS}\n"),
        (["--storage", "oracle9://a"], f"--storage: unknown kind of storage 'oracle9'; expected a URL such as {FORMS}\n"),
        (
            ["--storage", "mysql+pymysql://me:secret@host/x"],
            "--storage: mysql+pymysql://me:***@host/x: the package for this database is not installed: pip install 'pymysql'\n",
        ),
        (
            ["--storage", "postgresql+psycopg://me:secret@localhost:1/x"],
            "--storage: postgresql+psycopg://me:***@localhost:1/x: it can not be reached: Connection refused\n",
        ),
        (["--storage", "grpc://localhost"], "--storage: expected grpc://host:port, got 'grpc://localhost'\n"),
        (
            ["--storage", "sqlite:////none/x.db"],
            "--storage: sqlite:////none/x.db: it can not be used: unable to open database file\n",
        ),
    ],
)
def test_a_storage_that_can_not_be_used_is_one_line(here, arguments, said):
    pytest.importorskip("psycopg")
    assert refused("s", *arguments) == said
    assert not Path("s").exists()


def test_a_folder_that_can_not_be_used_is_one_line(here):
    Path("run").mkdir()
    Path("run/config.yml").touch()
    assert refused("run") == "--to: run is the folder of a run: name another folder for the sweep\n"
    Path("other").mkdir()
    Path("other/notes.txt").touch()
    assert refused("other") == "--to: other holds other files (notes.txt): name another folder for the sweep\n"
    assert refused("other/notes.txt") == "other/notes.txt: the sweep's folder can not be written: Not a directory\n"


def test_a_line_of_the_journal_without_its_end_is_removed(here):
    """A killed writer, or a full disk, leaves one; Optuna could not read the journal after its next write."""
    swept(trials=1)
    journal = Path("s/study.journal")
    whole = journal.read_bytes()
    for torn in (b'{"op_code":4,"worker', b"\0" * 5000):
        journal.write_bytes(whole + torn)
        assert len(swept(trials=2 if torn[0] else 3).trials) == (2 if torn[0] else 3)
        assert all(json.loads(line) for line in journal.read_bytes().splitlines())
    journal.write_bytes(b"no json\n" + whole)
    with pytest.raises(PpemaError, match="^s/study.journal: the sweep's journal is damaged: "):
        swept(trials=3)


def test_a_full_disk_ends_the_sweep_and_fails_no_trial(here, monkeypatch):
    monkeypatch.setattr(seed_run, "LEAST_SPACE", 2**62)
    with pytest.raises(TrainingError, match="^s: the disk is full: free some space, and go on; no trial has failed$"):
        swept(["lr=1e3,0.01"], "grid", None, jobs=2)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert [each.state for each in read_results("s").trials] == ["waiting"] * 2


def test_the_function_takes_a_path_or_a_loaded_config(here, monkeypatch):
    monkeypatch.setattr(sweeping, "ppema_command", lambda name: TRAINEE)
    config = ppema.load_config(CONFIG, ["train.epochs=3"])
    results = ppema.sweep(config, {"lr": [0.1, 0.01]}, monitor="ema/accuracy", to="t").results
    assert [(each.params, each.state) for each in results.trials] == [({"lr": lr}, "complete") for lr in (0.1, 0.01)]
    assert ppema.load_config("t/sweep.yml").train.epochs == 3
    for wrong, said in (
        (
            config.replace(seed=3),
            "code made or changed it, and each run of a sweep loads it from a file: give `over` the changes",
        ),
        (7, "expected the path of a config, or what load_config returns; got a int"),
    ):
        with pytest.raises(PpemaError, match=f"^config: {said}$"):
            ppema.sweep(wrong)


def launcher(here, code):
    """A command that runs `code` in place of a training, with its `output`, and `attempt`, which counts from 1."""
    file = here / "launched.py"
    file.write_text(
        "import json, os, re, signal, sys\n"
        "output = re.search(r'output=\\'?([^\\']+)', ' '.join(sys.argv))[1].split()[0]\n"
        "os.makedirs(f'{output}/attempts', exist_ok=True)\n"
        "attempt = len(os.listdir(f'{output}/attempts')) + 1\n"
        "open(f'{output}/attempts/{attempt}', 'w').close()\n"
        "def evaluate(*steps):\n"
        '    line = \'{"kind": "eval", "weights": "ema", "accuracy": 0.5, "epoch": 1, "step": %d}\\n\'\n'
        "    open(f'{output}/metrics.jsonl', 'w').write(''.join(line % step for step in steps))\n"
        f"{code}"
    )
    return [sys.executable, "-S", "-E", str(file)]


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


def test_the_table_of_visualdl_is_written_while_the_sweep_goes_on(here, monkeypatch):
    drawn = []

    def slow(folder, values, metric):
        until(lambda: len(ledger(here)) == 2, seconds=10)
        drawn.append((str(folder), values, metric))

    monkeypatch.setattr(run_board, "draw_hyperparameters", slow)
    swept(["lr=0.1,0.01"], "grid", None)
    assert drawn == [(f"s/trials/000{n}-s0/vdl", {"lr": lr, "seed": 0}, "accuracy") for n, lr in enumerate((0.1, 0.01))]
