"""The copy of a run's state that is written while training continues."""

from __future__ import annotations

import pytest
from support.configs import CNN, loader
from support.runs import steps

from ppema.training.saving.statecopy import StateCopy
from ppema.training.setup import prepare_training


@pytest.fixture
def run(tmp_path):
    made = prepare_training(loader(tmp_path, CNN)())
    yield made
    made.close()


def test_it_is_the_state_at_the_last_call_whatever_the_run_does_meanwhile(run):
    def now():
        return {part: {name: array.tobytes() for name, array in arrays.items()} for part, arrays in run.read().items()}

    copied = StateCopy(run)

    def held():
        return {part: {name: view.tobytes() for name, view in image.views.items()} for part, image in copied.images.items()}

    memory = {part: image.data.ctypes.data for part, image in copied.images.items()}
    expected = now()
    assert set(expected) == {"raw", "optimizer", "average-ema", "average-tensorflow", "average-measured"}
    for _ in steps(run, 2):
        assert held() == expected != now()
        copied.take()
        expected = now()
        assert held() == expected
    assert {part: image.data.ctypes.data for part, image in copied.images.items()} == memory
