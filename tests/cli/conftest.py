"""The shared fixtures of the tests of commands."""

from __future__ import annotations

import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, in which a run would create `runs`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
