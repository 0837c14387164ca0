"""Runs whose weights, optimizer's state or averages become non-finite, although every loss and gradient is finite."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.configs import blobs, data_section, loader
from support.runs import last
from support.worlds import on_ranks

from ppema.checkpoint.state import BEGINNING, State
from ppema.checkpoint.store import Checkpoints
from ppema.data import Batch
from ppema.errors import CheckpointError, ConfigError, TrainingError
from ppema.ir import scope
from ppema.log.records import read_metrics
from ppema.training.checks import statecheck
from ppema.training.checks.statecheck import StateCheck
from ppema.training.loop import dry_run, train
from ppema.training.setup import prepare_training
from ppema.training.stepper import Stepper

SECTIONS = {
    "model": "{name: mlp, args: {in_features: 64, num_classes: 3, hidden: [4]}}",
    "optimizer": "{name: AdamW}",
    "lr": "0.01",
    "averages": "{ema: {decay: 0.9}, quick: {decay: 0.5, precision: compensated}}",
    "train": "{epochs: 3, log_every: 5 steps, eval_every: 100 %, save_every: 3 steps}",
}
# Its square overflows in AdamW's second moment. The weight then never changes again.
LARGE = 1e23
ADVICE = "lower the learning rate, set optimizer.clip_norm or correct the data, and begin anew in another output"
OVERFLOWING = ("optimizer={name: SGD}", "lr=3e38")


@pytest.fixture
def config(tmp_path):
    """48 samples in 6 batches. Batch 4 of each epoch, first in step 5, has a LARGE number in sample 35."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(0, 100, (48, 1, 8, 8)).astype("float32"), rng.integers(0, 3, 48)
    images[35, 0, 2, 5] = LARGE
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    npz = f"{{name: npz, path: {tmp_path / 'data.npz'}, inputs: [images], target: labels, batch_size: 8}}"
    return loader(tmp_path, data=data_section(npz, blobs("samples: 8, batch_size: 8", "test")), **SECTIONS)


@pytest.fixture
def opened(config):
    """A run before its first step, and its check."""
    runs = []

    def make(*overrides):
        runs.append(prepare_training(config(*overrides)))
        return runs[-1], StateCheck(runs[-1], BEGINNING)

    yield make
    for run in runs:
        run.close()


def checkpoints(output):
    return Checkpoints(output / "checkpoints")


def test_the_run_ends_and_names_variable_steps_sample_and_checkpoint(config, tmp_path):
    saved = tmp_path / "run/checkpoints/step-00000003"
    expected = (
        "the optimizer's linear_0.w_0_moment2_0 is not finite since one of the steps 4 to 5, whose loss and gradients were; in "
        f"step 5 (epoch 0, batch 4) sample 35 of data.train holds 1e+23: {ADVICE}. This state is not saved; {saved} is finite, "
        "and init_from can begin with it"
    )
    for _ in range(2):  # a resumed run ends in the same way
        with pytest.raises(TrainingError) as caught:
            train(config())
        assert caught.value.exit_code == 1
        assert str(caught.value) == expected
        assert last(tmp_path / "run") == saved
        assert [record["kind"] for record in read_metrics(tmp_path / "run")] == []
    found = checkpoints(tmp_path / "run").find("last")
    assert all(np.isfinite(a).all() for part in ("raw", "optimizer", "average-ema") for a in found.arrays(part).values())
    # The advice in the message.
    result = train(config(f"output={tmp_path / 'new'}", f"init_from={{path: {saved}}}", "optimizer.clip_norm=1.0"))
    assert result.state.step == 18


def test_weights_are_named_before_what_follows_them(config, tmp_path):
    """The next step is skipped, and reveals the one before it. Nothing was saved."""
    with pytest.raises(TrainingError) as caught:
        train(config(*OVERFLOWING, "train.max_skipped=0"))
    assert str(caught.value) == (
        f"linear_0.w_0 (1.weight) is not finite since step 1, whose loss and gradients were: {ADVICE}. This state is not "
        "saved; there is no checkpoint before it"
    )
    assert not checkpoints(tmp_path / "run").exists()


def test_steps_that_were_skipped_are_not_blamed(config, tmp_path):
    """Step 2 has a NaN and is skipped. The fault is in step 5."""
    held = np.load(tmp_path / "data.npz")
    images = held["images"].copy()
    images[8 + 1, 0, 0, 0] = np.nan
    np.savez(tmp_path / "data.npz", images=images, labels=held["labels"])
    said = r"since one of the steps 3 to 5, whose loss and gradients were; in step 5 \(epoch 0, batch 4\) sample 35"
    with pytest.raises(TrainingError, match=said):
        train(config("train.save_every=5 steps"))


@pytest.mark.parametrize("due", ["train.log_every=1 step", "train.eval_every=1 step", "train.save_every=1 step"])
def test_nothing_is_logged_measured_or_saved_of_it(config, tmp_path, due):
    never = [f"train.{each}_every=100 %" for each in ("log", "eval", "save")]
    with pytest.raises(TrainingError, match="is not finite since step 1,"):
        train(config(*OVERFLOWING, *never, due))
    assert read_metrics(tmp_path / "run") == []
    assert not checkpoints(tmp_path / "run").exists()


def test_a_stop_does_not_save_it(config, tmp_path, monkeypatch):
    made = Stepper.run

    def stopped(self, *given):
        os.kill(os.getpid(), signal.SIGTERM)
        return made(self, *given)

    monkeypatch.setattr(Stepper, "run", stopped)
    with pytest.raises(TrainingError, match="is not finite since step 1,"):
        train(config(*OVERFLOWING))
    assert not checkpoints(tmp_path / "run").exists()


def test_a_dry_run_says_so(config):
    with pytest.raises(
        TrainingError, match=r"^after step 1 \(epoch 0, batch 0\) linear_0.w_0 \(1.weight\) would not be finite: "
    ):
        dry_run(config(*OVERFLOWING))


KINDS = {
    "weight": ("linear_0.w_0", "linear_0.w_0 (1.weight)"),
    "optimizer": ("linear_1.b_0_moment1_0", "the optimizer's linear_1.b_0_moment1_0"),
    "average": ("linear_1.b_0.ema", "the average 'ema' of linear_1.b_0 (3.bias)"),
    "rest": ("linear_1.b_0.quick.rest", "the rest of the average 'quick' of linear_1.b_0 (3.bias)"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_all_that_a_step_writes_is_covered(opened, kind, value):
    run, check = opened()
    assert check.culprit() is None
    name, words = KINDS[kind]
    name = next(each for names in run.state_parts().values() for each in names if each == name or each.startswith(f"{name}_"))
    array = scope.get(run.scope, name)
    array.reshape(-1)[-1] = value
    scope.put(run.scope, {name: array})
    assert check.culprit() == words


@pytest.mark.parametrize(
    ("bad", "together", "named"),
    [
        ({1: 1}, True, "; in step 2 (epoch 0, batch 1) sample 1 of data.train holds inf"),
        ({0: 2, 1: 1}, True, "; in step 2 (epoch 0, batch 1) sample 1 of data.train holds inf"),
        ({}, True, ""),
        # Rank 0 alone saves after a fault of another one: nobody else is here.
        ({0: 2, 1: 1}, False, "; in step 3 (epoch 0, batch 2) sample 0 of data.train holds inf"),
    ],
)
def test_the_first_bad_sample_of_all_ranks_is_named(opened, monkeypatch, bad, together, named):
    """bad: the batch in which each rank's sample is infinite."""
    run, _ = opened()
    name = next(name for name in run.state_parts()["raw"] if name.endswith("w_0"))
    scope.put(run.scope, {name: np.full_like(scope.get(run.scope, name), np.nan)})

    def batches(run, state, last):
        for number in range(last):
            value = np.inf if bad.get(run.world.ranks.rank) == number else 1.0
            yield Batch((np.full((1, 2), value, "float32"),), np.array([run.world.ranks.rank]))

    monkeypatch.setattr(statecheck, "batches_after", batches)

    def work(world):
        check = StateCheck(replace(run, world=world), BEGINNING)
        state = State(step=3, epoch=0, batch=3, samples=24, skipped=0)
        return str(check.failure(state, state, lambda: None, together=together))

    found = on_ranks(2, work)
    for said in found if together else found[:1]:
        assert f"since one of the steps 1 to 3, whose loss and gradients were{named}: lower the learning rate" in said


def test_what_no_step_writes_may_be_infinite(opened):
    """Such as a mask of -inf."""
    run, check = opened("model=support.models.PartlyFrozen")
    frozen = ("linear_0.w_0", "batch_norm1d_0.w_1", "batch_norm1d_0.w_2")
    scope.put(run.scope, {name: np.full_like(scope.get(run.scope, name), -np.inf) for name in frozen})
    assert check.culprit() is None
    scope.put(run.scope, {name: np.full_like(scope.get(run.scope, name), -np.inf) for name in ["batch_norm1d_1.w_2"]})
    assert check.culprit() == "batch_norm1d_1.w_2 (moving._variance)"


def test_it_changes_nothing(config, tmp_path):
    """Checking at every step or rarely gives the same bytes."""
    fine = ("optimizer={name: AdamW, clip_norm: 1.0}",)
    for name, often in (("often", "1 step"), ("seldom", "100 %")):
        train(config(*fine, f"output={tmp_path / name}", f"train.log_every={often}", "train.save_every=100 %"))
    found = [
        {file.name: file.read_bytes() for file in last(tmp_path / name).glob("*.safetensors")} for name in ("often", "seldom")
    ]
    assert found[0] == found[1]


def test_a_run_does_not_begin_with_it(config, tmp_path):
    save_file({"1.weight": np.full((64, 4), np.nan, "float32")}, tmp_path / "bad.safetensors")
    with pytest.raises(ConfigError, match=r"init_from: linear_0.w_0 \(1.weight\) is not finite to begin with$"):
        train(config(f"init_from={{path: {tmp_path / 'bad.safetensors'}, strict: []}}"))
    assert not checkpoints(tmp_path / "run").exists()


def test_a_run_does_not_go_on_from_it(config, tmp_path, monkeypatch):
    """From a state that a version without the check saved."""
    with monkeypatch.context() as patch:
        patch.setattr(StateCheck, "culprit", lambda self: None)
        train(config(*OVERFLOWING, "train.stop_after=1 step"))
    saved = last(tmp_path / "run")
    with pytest.raises(CheckpointError) as caught:
        train(config(*OVERFLOWING))
    assert str(caught.value) == (
        f"{saved}: linear_0.w_0 (1.weight) is not finite, so every later step would be lost: go on from an earlier checkpoint, "
        "or choose another output"
    )
