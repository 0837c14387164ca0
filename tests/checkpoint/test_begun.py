"""Steps of several micro-batches: where they begin and end, the seeds of their runs, and their weighted means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ppema.checkpoint.begun import Begun, MicroBatches
from ppema.checkpoint.state import BEGINNING, step_seed


@pytest.mark.parametrize(("every", "per_epoch"), [(1, 5), (3, 7), (3, 6), (4, 4)])
def test_steps_take_every_batch_of_every_epoch_once(every, per_epoch):
    """The last step of an epoch takes the rest; `before` counts the batches of the steps so far."""
    micro_batches, state, taken = MicroBatches(every, per_epoch), BEGINNING, 0
    for step in range(2 * micro_batches.steps_per_epoch):
        assert (state.step, state.epoch * per_epoch + state.batch) == (step, taken)
        assert micro_batches.before(step) == taken
        count = micro_batches.of_step(state)
        assert count == every or (count == per_epoch % every and state.batch + count == per_epoch)
        state, taken = state.advance(0, per_epoch, batches=count), taken + count
    assert (state.epoch, state.batch, taken) == (2, 0, 2 * per_epoch)


def test_the_mean_of_a_step_weighs_its_micro_batches():
    begun = Begun().plus(8, 8.0, 1.0, {"loss.mask": 2.0}).plus(2, 2.0, 6.0, {"loss.mask": 12.0})
    assert (begun.batches, begun.samples, begun.weight) == (2, 10, 10.0)
    assert (begun.mean, begun.means) == (2.0, {"loss.mask": 4.0})
    assert Begun().plus(8, 0.0, 0.0, {"x": 0.0}).mean == 0.0


def test_each_micro_batch_has_a_seed_of_its_own():
    """That of the first one is the step's, so that steps of one batch draw what they always drew."""
    seeds = {step_seed(seed, step, index) for seed in range(10) for step in range(50) for index in range(20)}
    assert len(seeds) == 10_000
    assert step_seed(1, 2, 0) == step_seed(1, 2) == 871875963107722422
    assert step_seed(1, replace(BEGINNING, step=3).step, 0) != step_seed(1, 2, 1)
