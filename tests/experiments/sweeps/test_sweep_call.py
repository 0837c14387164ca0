"""`ppema.sweep` from code."""

from __future__ import annotations

import pytest
from support.sweeps import CONFIG, TRAINEE

import ppema
from ppema.errors import PpemaError
from ppema.experiments.sweeps import sweeping


def test_the_function_takes_a_path_or_a_loaded_config(here, monkeypatch):
    monkeypatch.setattr(sweeping, "ppema_command", lambda name: TRAINEE)
    config = ppema.load_config(CONFIG, ["train.epochs=3"])
    results = ppema.sweep(config, {"lr": [0.1, 0.01]}, monitor="ema/accuracy", to="t").results
    assert [(each.params, each.state) for each in results.trials] == [({"lr": lr}, "complete") for lr in (0.1, 0.01)]
    assert ppema.load_config("t/sweep.yml").train.epochs == 3
    for wrong, said in (
        (
            config.replace(seed=3),
            "code made or changed it, and each run of a sweep loads it from a file: give `over` the changes",
        ),
        (7, "expected the path of a config, or what load_config returns; got a int"),
    ):
        with pytest.raises(PpemaError, match=f"^config: {said}$"):
            ppema.sweep(wrong)
