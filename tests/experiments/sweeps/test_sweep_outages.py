"""Sweeps whose storage or folder fails."""

from __future__ import annotations

import errno
import random
from functools import wraps
from pathlib import Path

import pytest
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from support.sweeps import ledger, swept

from ppema.errors import PpemaError, SetupError, TrainingError
from ppema.experiments.sweeps import sweeping
from ppema.experiments.sweeps.shared import outage
from ppema.experiments.sweeps.shared.masking import url_without_password, without_password
from ppema.experiments.sweeps.shared.outage import StoragePatience, WatchedStorage
from ppema.experiments.sweeps.shared.study_storage import open_storage
from ppema.experiments.sweeps.shared.trial_lock import TrialLock
from ppema.experiments.sweeps.sweep_folder import read_results


@pytest.fixture(autouse=True)
def short_pause(monkeypatch):
    monkeypatch.setattr(outage, "_PAUSE", 0.01)


class ReadOnly:
    """Reads succeed. Writes fail while it is full."""

    full = True

    def read(self):
        return 3

    def write(self):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        raise KeyError("an answer too")


def test_patience_ends_although_other_calls_succeed():
    said = []
    storage = WatchedStorage(ReadOnly())
    patience = StoragePatience(storage, 0.2, said.append)

    def rounds():
        for _ in range(1000):
            assert patience.tried(storage.read) == 3
            assert patience.tried(storage.write) is None

    with pytest.raises(TrainingError, match="^the sweep's storage has failed for 0 seconds: .*No space left on device$"):
        rounds()
    assert len(said) == 1 and said[0].startswith("warning: the sweep's storage fails: ")


def test_patience_begins_anew_after_an_answer():
    said = []
    inner = ReadOnly()
    storage = WatchedStorage(inner)
    patience = StoragePatience(storage, 60, said.append)
    for _ in range(2):
        inner.full = True
        patience.tried(storage.write)
        inner.full = False
        with pytest.raises(KeyError):
            patience.tried(storage.write)
    assert [each.partition(":")[0] for each in said] == ["warning", "the sweep's storage works again"] * 2


def test_a_journal_that_can_not_be_written_ends_the_sweep(here, monkeypatch):
    monkeypatch.setattr(sweeping, "_PATIENCE", 0.3)
    write, writes = JournalFileBackend.append_logs, []

    def full(self, logs):
        writes.append(logs)
        if len(writes) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", full)
    with pytest.raises(TrainingError, match="^the sweep's storage has failed for 0 seconds: "):
        swept(trials=3)
    monkeypatch.setattr(JournalFileBackend, "append_logs", write)
    assert [each.state for each in swept(trials=3).trials] == ["complete"] * 3


def test_a_storage_that_fails_anywhere_loses_nothing(here, monkeypatch, capfd):
    """From the first call after the start to the last read of the results, one call in ten fails."""
    draws, begun = random.Random(3), sweeping.open_sweep

    def failing(method):
        @wraps(method)
        def call(*arguments, **options):
            if draws.random() < 0.1:
                raise OSError(errno.EIO, "Input/output error")
            return method(*arguments, **options)

        return call

    def opened(*arguments):
        found = begun(*arguments)
        for name, method in vars(BaseStorage).items():
            if not name.startswith("_") and callable(method):
                monkeypatch.setattr(JournalStorage, name, failing(getattr(JournalStorage, name)))
        return found

    monkeypatch.setattr(sweeping, "open_sweep", opened)
    results = swept(trials=6, jobs=2)
    assert [each.state for each in results.trials] == ["complete"] * 6
    assert read_results("s") == results
    assert ledger(here) == [f"{n:04d}-s0" for n in range(6)]
    assert "the sweep's storage works again" in capfd.readouterr().err


def test_an_outage_at_the_start_is_one_line(here, monkeypatch):
    def gone(*arguments, **options):
        raise type("RpcError", (Exception,), {"__module__": "grpc"})("the proxy is gone")

    monkeypatch.setattr(JournalStorage, "create_new_study", gone)
    with pytest.raises(SetupError, match="^the study 's' can not be opened in the sweep's storage: the proxy is gone$"):
        swept(trials=1)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ("s/trials/0001-s0", "s/trials/0001-s0: the run can not be started: File exists"),
        ("s/locks/0001/x", "s/locks/0001: the sweep's lock can not be taken: Is a directory"),
        ("s/trials/0001-s0/metrics.jsonl/x", "s/trials/0001-s0/metrics.jsonl: it can not be read: Is a directory"),
    ],
)
def test_a_folder_that_can_not_be_used_ends_the_sweep_and_fails_no_trial(here, monkeypatch, spoilt, said):
    begun = sweeping.open_sweep

    def opened(*arguments):
        found = begun(*arguments)
        Path(spoilt).parent.mkdir(parents=True)
        Path(spoilt).touch()
        return found

    monkeypatch.setattr(sweeping, "open_sweep", opened)
    with pytest.raises(PpemaError) as refused:
        swept(trials=3)
    assert str(refused.value) == said
    states = [each.state for each in read_results("s").trials]
    assert states[0] == "complete" and not {"failed", "complete"} & set(states[1:])


def test_the_results_are_read_and_written_under_a_lock(here, monkeypatch):
    """A stopped process can not replace the final table by an older one."""
    held = []
    for name in ("results_of", "write_results"):
        call = getattr(sweeping, name)

        def checked(*arguments, call=call):
            held.append(TrialLock.now(Path("s"), "results.json") is None)
            return call(*arguments)

        monkeypatch.setattr(sweeping, name, checked)
    swept(trials=2)
    assert len(held) >= 2 and all(held)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p@ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:pa/ss@h/db", "postgresql://u:***@h/db"),
        ("grpc://u:pa:ss@h:5/", "grpc://u:***@h:5/"),
        ("postgresql+psycopg://h/db?user=u&password=secret", "postgresql+psycopg://h/db?user=u&password=***"),
        ("mysql://h/db?passwd=a%20b&x=1&SSLPassword=c", "mysql://h/db?passwd=***&x=1&SSLPassword=***"),
        ("x://u@h/db?passfile=/f&access_token=t&ssl=on", "x://u@h/db?passfile=***&access_token=***&ssl=on"),
        ("sqlite:////a/b@c:d.db", "sqlite:////a/b@c:d.db"),
        ("grpc://h:50051", "grpc://h:50051"),
    ],
)
def test_messages_have_no_password(url, shown):
    assert without_password(f"no {url} here: a@b") == f"no {shown} here: a@b"
    assert url_without_password(url) == shown


def test_a_password_with_a_space_is_masked_in_a_url():
    assert url_without_password("x://u:a b@h/d?password=c d&e=f") == "x://u:***@h/d?password=***&e=f"


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://u@127.0.0.1:1/db?password=secret", "postgresql+psycopg://u:p@secret@h:1/db", "grpc://u:secret@h:1"],
)
def test_a_refusal_has_no_password(here, url):
    pytest.importorskip("psycopg")
    with pytest.raises(PpemaError) as refused:
        open_storage(url, here)
    assert "***" in str(refused.value) and "secret" not in str(refused.value)
