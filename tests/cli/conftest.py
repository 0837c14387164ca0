"""What tests of commands share."""

from __future__ import annotations

import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, where a run would leave its `runs`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
