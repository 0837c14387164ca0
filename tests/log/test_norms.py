"""The norms of a step, beside those of float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.configs import loader
from support.runs import content, last

from ppema.log.records import read_metrics
from ppema.training.loop import Trainer, train
from ppema.training.stepper import Step
from ppema.weights.file import read_weights

# Without momentum and decay, an update is -lr · gradient.
SGD = ("optimizer=SGD", "lr=0.25", "averages={ema: {decay: 0.9}}")
NORMS = ("gradient_norm", "parameter_norm", "update_norm")


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


def records(run):
    return [each for each in read_metrics(run) if each["kind"] == "train"]


def norm(arrays):
    return float(np.sqrt(sum(np.sum(np.square(each.astype(np.float64))) for each in arrays)))


def weights(run, step):
    """The trained weights after a step: BatchNorm's scale and shift, and a linear layer's."""
    found = read_weights(run / f"checkpoints/step-{step:08d}/raw.safetensors")
    return {name: array for name, array in found.items() if ".w_1" not in name and ".w_2" not in name}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_norms_are_those_of_numpy_and_change_no_bit(config, tmp_path, accumulate):
    whole, plain = tmp_path / "whole", tmp_path / "plain"
    given = (
        f"train={{accumulate: {accumulate}, "
        + "steps: 6, log_every: 2 steps, eval_every: 6 steps, save_every: 1 step, keep: 9%s}"
    )
    train(config(*SGD, given % ", log_norms: true", f"output={whole}"))
    train(config(*SGD, given % "", f"output={plain}"))
    ours, theirs = content(last(whole)), content(last(plain))
    assert {name: each for name, each in ours.items() if name != "manifest"} == {
        name: each for name, each in theirs.items() if name != "manifest"
    }
    assert [each["step"] for each in records(whole)] == [2, 4, 6]
    assert not set(NORMS) & set(records(plain)[0])
    for record in records(whole):
        before, after = weights(whole, record["step"] - 1), weights(whole, record["step"])
        assert len(after) == 4
        change = norm([after[name].astype(np.float64) - before[name] for name in after])
        assert record["parameter_norm"] == pytest.approx(norm(after.values()), rel=1e-12)
        assert record["update_norm"] == pytest.approx(change, rel=1e-6)
        # Weights are float32, so the update is the gradient's only up to their rounding.
        assert record["gradient_norm"] == pytest.approx(change / 0.25, rel=1e-5)


def test_frozen_weights_do_not_count_until_the_end_of_their_phase(config, tmp_path):
    given = "train={steps: 3, log_every: 1 step, log_norms: true, eval_every: 3 steps, save_every: 1 step, keep: 9}"
    train(config(*SGD, given, "groups=[{match: '^norm[.]', frozen_for: 2 steps}]"))
    logged = [each["parameter_norm"] for each in records(tmp_path / "run")]
    every = [weights(tmp_path / "run", step) for step in (1, 2, 3)]
    assert len(every[0]) == 4
    trained = [norm(array for name, array in found.items() if "norm" not in name) for found in every[:2]]
    np.testing.assert_allclose(logged, [*trained, norm(every[2].values())], rtol=1e-12)


def test_the_gradient_is_measured_before_clipping_and_not_in_a_skipped_step(config, tmp_path, monkeypatch):
    step = Trainer.step
    monkeypatch.setattr(
        Trainer,
        "step",
        lambda self, batch, state: step(self, batch, state) if state.step < 2 else Step(8, 1, math.nan, "it is 3"),
    )
    given = "train={steps: 3, log_every: 1 step, log_norms: true}"
    train(config(*SGD, given, "optimizer={name: SGD, clip_norm: 0.001}"))
    first, second, skipped = records(tmp_path / "run")
    for each in (first, second):
        assert each["gradient_norm"] > 0.1
        assert each["update_norm"] == pytest.approx(0.25 * 0.001, rel=1e-3)
    assert not set(NORMS) & set(skipped)
