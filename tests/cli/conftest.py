"""The shared fixtures of the tests of commands."""

from __future__ import annotations

import shutil

import pytest
from support.configs import with_snapshots

from ppema.training.loop import train


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, in which a run would create `runs`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def snapshots_run(tmp_path_factory):
    """The folder of a run of 60 steps from whose snapshots averages are made."""
    folder = tmp_path_factory.mktemp("average")
    train(with_snapshots(folder, "output=run", f"output={folder / 'run'}", "train.epochs=6", "train.monitor=wide/accuracy"))
    return folder


@pytest.fixture
def copied_run(snapshots_run, tmp_path, monkeypatch):
    """A copy of that folder as the current folder."""
    shutil.copytree(snapshots_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
