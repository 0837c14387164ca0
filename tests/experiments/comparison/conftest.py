"""What the tests of comparisons share."""

from __future__ import annotations

import pytest
from support.comparisons import FAST, SLOW
from support.written_runs import accuracies, write_run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three runs of each rate, with seeds 0 and 1 in common."""
    monkeypatch.chdir(tmp_path)
    for name, lr, values in (("slow", 0.1, SLOW), ("fast", 0.2, FAST)):
        for seed, (raw, ema) in values.items():
            write_run(tmp_path / f"{name}-s{seed}", accuracies(raw=raw, ema=ema), f"lr={lr}", f"seed={seed}")
    return [f"{name}-s{seed}" for name, values in (("slow", SLOW), ("fast", FAST)) for seed in values]
