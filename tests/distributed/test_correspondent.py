"""The clock of a rank, which does not count time in which the process had no turn."""

from __future__ import annotations

from types import SimpleNamespace

from ppema.distributed import correspondent
from ppema.distributed.correspondent import Clock


def test_a_freeze_excuses_the_others_for_some_seconds_only(monkeypatch):
    time = 100.0
    monkeypatch.setattr(correspondent, "time", SimpleNamespace(monotonic=lambda: time))
    clock = Clock()
    for _ in range(10):
        time += 0.5
        clock.tick()
    assert (clock.now, clock.frozen) == (5.0, 0.0)
    time += 60.0
    clock.tick()
    assert (clock.now, clock.frozen) == (6.0, 60.0)
    for _ in range(20):
        time += 0.5
        clock.tick()
    assert (clock.now, clock.frozen) == (16.0, 60.0)
    time += 0.5
    clock.tick()
    assert clock.frozen == 0.0
