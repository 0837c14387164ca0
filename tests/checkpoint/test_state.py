"""Positions, due events, seeds and best values: pure functions of a run."""

from __future__ import annotations

from dataclasses import replace

from ppema.checkpoint.best import Best
from ppema.checkpoint.state import BEGINNING, Every, State, step_seed


def test_a_position_advances_through_epochs():
    state = BEGINNING
    seen = []
    for size in (4, 4, 2, 4):
        state = state.advance(size, batches_per_epoch=3)
        seen.append((state.step, state.epoch, state.batch, state.samples))
    assert seen == [(1, 0, 1, 4), (2, 0, 2, 8), (3, 1, 0, 10), (4, 1, 1, 14)]


def test_a_skipped_step_is_a_step_but_no_update():
    state = State(step=5, epoch=1, batch=2, samples=20, skipped=1).advance(4, batches_per_epoch=3, skipped=True)
    assert state == State(step=6, epoch=2, batch=0, samples=24, skipped=2)
    assert state.updates == 4
    assert state.advance(4, batches_per_epoch=3) == State(step=7, epoch=2, batch=1, samples=28, skipped=2)


def test_due_every_so_often_and_at_the_end():
    assert [step for step in range(1, 11) if Every(4, last=10).due(replace(BEGINNING, step=step))] == [4, 8, 10]


def test_seeds_differ_and_stay():
    seeds = {step_seed(seed, step) for seed in range(40) for step in range(250)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)
    # The values are fixed, because a change of the formula would change every run with dropout.
    assert (step_seed(0, 0), step_seed(1, 2)) == (4685109482889842056, 871875963107722422)


def test_best_by_metric_and_by_mode():
    low, high = Best("raw/x", 1.0, 1), Best("raw/x", 2.0, 2)
    assert high.beats(low, "max") and not low.beats(high, "max")
    assert low.beats(high, "min") and not high.beats(low, "min")
    assert not low.beats(low, "max") and not low.beats(low, "min")
    assert high.beats(low, None)
    assert Best("ema/loss", 1.0, 1).beats(Best("ema/loss", 2.0, 1), None)
