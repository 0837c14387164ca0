"""Trials whose training refuses its input: the fault may be in the config, or in a value."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.sweeps import TRAINEE, swept

from ppema.errors import PpemaError
from ppema.experiments.sweeps.sweep_folder import read_results


def test_a_config_that_every_trial_refuses_ends_the_sweep_and_waits(here, capfd):
    with pytest.raises(PpemaError, match="^all 3 trials so far fail: trial 0: lr: this is no rate$"):
        swept(["lr=0.5,0.6,0.7,0.8"], "grid", None)
    # The last point tells that no value of the first trial is at fault.
    assert [each.state for each in read_results("s").trials] == ["waiting"] * 4
    assert not Path("s/trials/0002-s0").exists()
    # With the cause removed, the same command trains them.
    results = swept(["lr=0.5,0.6,0.7,0.8"], "grid", None, launcher=[*TRAINEE, "--all-rates"])
    assert [each.state for each in results.trials] == ["complete"] * 4


@pytest.mark.parametrize(
    ("over", "failed"),
    [
        (["lr=0.5,0.6,0.7,0.01", "averages.ema.decay=0.9,0.99"], 6),  # refused, but not with every value
        (["lr=1,2,3,0.01"], 3),  # crashes of the model
        (["lr=2,3,4"], 3),
    ],
)
def test_values_that_are_refused_are_failed_trials_and_others_are_trained(here, over, failed):
    trials = swept(over, "grid", None).trials
    assert {each.error for each in trials[:failed]} <= {
        "lr: this is no rate",
        "--over lr: RuntimeError: too wide (models.py:3)",
    }
    states = [each.state for each in trials]
    assert states[:failed] == ["failed"] * failed and set(states[failed:]) <= {"complete"}
