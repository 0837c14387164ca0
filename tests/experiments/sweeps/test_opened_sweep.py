"""The folder and the storage of a sweep when it begins, goes on, or is refused."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from support.sweeps import CONFIG, TRAINEE, ledger, space, swept

from ppema.cli.main import main as cli
from ppema.errors import PpemaError
from ppema.experiments.sweeps.sweeping import run_sweep

FORMS = "postgresql+psycopg://user@host/database, sqlite:///file.db or grpc://host:port"


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
