"""What the tests of sweeps share."""

from __future__ import annotations

import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder, in which the stand-in for a training takes 50 ms for 4 steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINEE_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("TRAINEE_STEPS", "4")
    monkeypatch.setenv("TRAINEE_SECONDS", "0.05")
    return tmp_path
