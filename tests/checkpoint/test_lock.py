"""The lock of a run: one process at a time holds it, every end of a process releases it, and a replaced folder is noticed."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ppema.checkpoint.lock import locked
from ppema.errors import CheckpointError, SetupError, TrainingError

HOLD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from ppema.checkpoint.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_it_until_that_is_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    said = rf"run/lock: process {holder.pid} on \S+, since 2\d\d\d-.*, is using this run: wait until it has ended, or choose"
    with pytest.raises(CheckpointError, match=said), locked(tmp_path / "run"):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert (tmp_path / "run/lock").exists()
    with locked(tmp_path / "run"):
        assert f"process {os.getpid()} " in (tmp_path / "run/lock").read_text()
    assert (tmp_path / "run").is_dir() and not (tmp_path / "run/lock").exists()


def test_the_same_process_can_not_train_twice_in_one_folder(tmp_path):
    with locked(tmp_path), pytest.raises(CheckpointError, match="is using this run"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_folders_that_were_made_for_the_lock_alone_go_with_it(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "runs/a"):
        raise KeyError
    assert os.listdir(tmp_path) == []
    with locked(tmp_path / "runs/a"):
        (tmp_path / "runs/a/file").touch()
    assert os.listdir(tmp_path / "runs/a") == ["file"]


def test_the_names_of_new_folders_outlast_a_power_cut(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("ppema.checkpoint.lock.sync_folder", synced.append)
    with locked(tmp_path / "runs/a"):
        assert synced == [tmp_path / "runs", tmp_path]
        (tmp_path / "runs/a/file").touch()
    with locked(tmp_path / "runs/a"):
        assert len(synced) == 2


def test_a_folder_that_was_removed_or_replaced_is_noticed(tmp_path):
    said = "run: the run's folder was removed or replaced while the run went on"
    with locked(tmp_path / "run") as lock:
        lock.check()
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(TrainingError, match=said):
            lock.check()
        with locked(tmp_path / "run") as other:
            other.check()
            with pytest.raises(TrainingError, match=said):
                lock.check()


def test_a_folder_that_can_not_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(SetupError, match=r"file/run: the run's folder can not be written: .*Not a directory"),
        locked(tmp_path / "file/run"),
    ):
        pass


def test_a_file_system_without_locks_is_used_without_one(tmp_path, monkeypatch):
    def none(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with locked(tmp_path / "run") as lock:
        lock.check()
