"""Runs of float16 on a CPU: with all passes of the loss scale, but in float32."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from ppema.programs import step
from ppema.programs.model import forward
from ppema.training import setup


def without_casts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let configs with precision: float16 train here, without casts and without a check for a GPU."""
    monkeypatch.setattr(setup, "check_precision", lambda config, place: None)
    monkeypatch.setattr(forward, "casts", lambda main, precision: nullcontext())
    monkeypatch.setattr(step, "computed", lambda main, precision: "")
