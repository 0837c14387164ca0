"""Runs with micro-batches: as with large batches, cut and resumed within a step, and with a bad micro-batch."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from support.configs import blobs, data_section, loader
from support.runs import content, last, losses, stopped_after

from ppema.api import evaluate
from ppema.checkpoint.checkpoint import BEGUN
from ppema.checkpoint.store import Checkpoints
from ppema.errors import CheckpointError, ConfigError
from ppema.programs.model.mixing import Mixing
from ppema.training.loop import dry_run, train
from ppema.training.setup import prepare_training
from ppema.training.stepper import Stepper

# 7 micro-batches in an epoch, of 8 samples and once of 2, make 3 steps: of 3, 3 and 1.
THREE = "train.accumulate=3"
MLP = "model={name: mlp, args: {in_features: 64, num_classes: 3, hidden: [16]}}"
SECTIONS = {
    "averages": "{ema: {decay: 0.9}, kept: {half_life: 3 steps, update_every: 2, precision: compensated, batch_norm: copy}}",
    "optimizer": "{name: AdamW, weight_decay: 0.01, clip_norm: 1.0}",
    "train": "{epochs: 4, log_every: 2 steps, eval_every: 4 steps, save_every: 4 steps, monitor: ema/accuracy}",
}


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path, **SECTIONS)


def arrays(output):
    checkpoint = Checkpoints(output / "checkpoints").find("last")
    return {name: each for part in checkpoint.manifest.files for name, each in checkpoint.arrays(part.split(".")[0]).items()}


@pytest.mark.parametrize("loss", ["cross_entropy", "{name: cross_entropy, args: {class_weights: [1, 5, 0.2]}}"])
def test_a_run_with_micro_batches_is_that_with_large_batches(config, tmp_path, loss):
    """Weights, averages, steps, samples and logged losses, within 1e-6. Micro-batches count by the weights of their loss."""
    given = (MLP, f"loss={loss}")
    small = train(config(f"output={tmp_path / 'small'}", *given, THREE)).state
    large = train(config(f"output={tmp_path / 'large'}", *given, "data.train.batch_size=24")).state
    assert small == large
    assert (small.step, small.epoch, small.batch, small.samples) == (12, 4, 0, 200)
    ours, theirs = arrays(tmp_path / "small"), arrays(tmp_path / "large")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-6, err_msg=name)
    ours, theirs = losses(tmp_path / "small"), losses(tmp_path / "large")
    assert [step for step, _ in ours] == [step for step, _ in theirs] == [2, 4, 6, 8, 10, 12]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(("runs", "step", "done"), [(2, 0, 2), (8, 3, 1), (12, 4, 2), (14, 6, 0)])
def test_a_run_cut_within_a_step_ends_as_the_whole_one(config, tmp_path, monkeypatch, runs, step, done):
    """BatchNorm, dropout, a schedule and averages, bit for bit; the first cut is within the first step."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(f"output={whole}", THREE))
    with monkeypatch.context() as patch:
        stopped_after(patch, runs)
        result = train(config(f"output={cut}", THREE))
    assert (result.stopped_by, result.state.step) == (signal.SIGTERM, step)
    saved = Checkpoints(cut / "checkpoints").find("last")
    assert (saved.manifest.begun.batches if saved.manifest.begun else 0) == done
    if step:
        assert np.isfinite(evaluate(config(f"output={cut}", THREE), weights="ema")["ema"]["loss"])
    else:
        with pytest.raises(CheckpointError, match="step-00000000: the average 'ema' has no value yet: no step was done"):
            evaluate(config(f"output={cut}", THREE), weights="ema")
    train(config(f"output={cut}", THREE))
    assert content(last(cut)) == content(last(whole))
    assert losses(cut) == losses(whole)


def test_a_mixed_run_cut_within_a_step_ends_as_the_whole_one(config, tmp_path, monkeypatch):
    """Each micro-batch is mixed by a draw of its own, which the resumed run continues."""
    whole, cut, shares, feed = tmp_path / "whole", tmp_path / "cut", [], Mixing.feed
    settings = (MLP, THREE, "mix={mixup: 1.0}", "train.epochs=2")

    def noted(self, seed, samples):
        fed = feed(self, seed, samples)
        shares.append(fed["mix.share"].item())
        return fed

    monkeypatch.setattr(Mixing, "feed", noted)
    train(config(f"output={whole}", *settings))
    drawn = shares.copy()
    assert len(set(drawn)) == len(drawn) == 14
    with monkeypatch.context() as patch:
        stopped_after(patch, 5)
        assert train(config(f"output={cut}", *settings)).state.step == 1
    assert Checkpoints(cut / "checkpoints").find("last").manifest.begun.batches == 2
    train(config(f"output={cut}", *settings))
    assert shares[14:] == drawn
    assert content(last(cut)) == content(last(whole))


@pytest.mark.parametrize(("runs", "step"), [(8, 3), (12, 4)])
def test_a_run_cut_within_a_step_while_statistics_are_frozen(config, tmp_path, monkeypatch, runs, step):
    """BatchNorm is frozen for 4 steps. Until then, checkpoints within a step have its first statistics."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = (THREE, "groups=[{match: '^norm', frozen_for: 4 steps}]", "runtime.onednn=off")
    train(config(f"output={whole}", *settings))
    with monkeypatch.context() as patch:
        stopped_after(patch, runs)
        assert train(config(f"output={cut}", *settings)).state.step == step
    saved = Checkpoints(cut / "checkpoints").find("last")
    assert saved.manifest.begun.batches
    assert (saved.arrays("raw")["batch_norm2d_0.w_1"], saved.arrays("raw")["batch_norm2d_0.w_2"]) == ([0.0], [1.0])
    train(config(f"output={cut}", *settings))
    assert content(last(cut)) == content(last(whole))


def test_a_checkpoint_within_a_step_holds_the_state_before_it(config, tmp_path, monkeypatch):
    """It replaces the checkpoint of that step, which best names; the sums and the moved statistics come beside it."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(f"output={whole}", THREE, "train.stop_after=4 steps"))
    stopped_after(monkeypatch, 11)
    train(config(f"output={cut}", THREE))
    ours, theirs = (Checkpoints(each / "checkpoints").find("best") for each in (cut, whole))
    assert ours.path.name == theirs.path.name == "step-00000004"
    for part in ("raw", "optimizer", "average-ema", "average-kept"):
        before, now = theirs.arrays(part), ours.arrays(part)
        # The executor has written the rate of the step that has begun.
        assert {name for name in {**before, **now} if before[name].tobytes() != now[name].tobytes()} <= {"learning_rate_0"}
    assert (ours.manifest.state, ours.manifest.metrics) == (theirs.manifest.state, theirs.manifest.metrics)
    held, raw = ours.arrays(BEGUN), theirs.arrays("raw")
    assert {name for name in held if name in raw} == {"batch_norm2d_0.w_1", "batch_norm2d_0.w_2"}
    assert all(held[name].tobytes() != raw[name].tobytes() for name in held if name in raw)
    assert held["accumulate.weight"] == 8 and held["linear_0.w_0.accumulated"].any()


def test_a_bad_micro_batch_is_one_skipped_step(tmp_path):
    """The log names its sample and the step's batches; weights, averages and statistics are those without the step."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(48, 1, 8, 8)).astype("float32"), rng.integers(0, 3, 48)
    images[27, 0, 2, 5] = np.nan
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    npz = f"{{name: npz, path: {tmp_path / 'data.npz'}, inputs: [images], target: labels, batch_size: 8}}"
    sections = {**SECTIONS, "train": "{epochs: 2, accumulate: 2, log_every: 3 steps}", "lr": "0.05"}
    config = loader(tmp_path, data=data_section(npz, blobs("samples: 8, batch_size: 8", "test")), **sections)
    state = train(config()).state
    assert (state.step, state.skipped, state.samples) == (6, 2, 96)
    lines = (tmp_path / "run/log.txt").read_text().splitlines()
    why = "the gradient of batch_norm2d_0.w_0 (norm.weight) is not finite; sample 27 of data.train holds nan"
    said = [f"warning: step {step} (epoch {epoch}, batches 2 to 3) is skipped: {why}" for step, epoch in ((2, 0), (5, 1))]
    assert [line for line in lines if "skipped" in line] == said
    found = arrays(tmp_path / "run")
    assert int(found["batch_norm2d_0.b_0.ema.count"]) == 4
    assert all(np.isfinite(each).all() for each in found.values() if each.dtype.kind == "f")


def test_what_is_refused(config, tmp_path):
    with pytest.raises(ConfigError, match="train.accumulate: 8 micro-batches are more than the 7 of an epoch"):
        train(config("train.accumulate=8"))
    train(config(THREE, "train.stop_after=2 steps"))
    with pytest.raises(CheckpointError, match="it was trained with another config: train.accumulate: was 3, now 2"):
        train(config("train.accumulate=2"))


@pytest.mark.filterwarnings("error:.*is no mean over samples")
@pytest.mark.parametrize(
    ("loss", "message"),
    [
        *(
            (
                f"loss=support.losses.{name}",
                f"loss: support.losses.{name} is no mean over samples, so that micro-batches and ranks can not",
            )
            for name in ("summed_loss", "rooted_loss", "weighted_loss")
        ),
        ("losses={good: cross_entropy, bad: support.losses.summed_loss}", "losses.bad: support.losses.summed_loss is no mean"),
        (
            "loss={name: CrossEntropyLoss, args: {reduction: sum}}",
            "loss.args.reduction: the gradients of micro-batches and of ranks are averaged",
        ),
    ],
)
def test_a_loss_that_is_no_mean_over_samples_is_refused(config, loss, message):
    """In one line, and without the warning that evaluations leave it out."""
    given = (MLP, "averages={}", "train.monitor=null", "train.epochs=1")
    with pytest.raises(ConfigError) as error:
        prepare_training(config(*given, loss, THREE))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_scalar_mean_counts_by_samples(config, tmp_path):
    """It ends as the same loss with one value per sample, whose last step of an epoch has micro-batches of 8 and of 2."""
    for folder, loss in (("scalar", "support.losses.scalar_loss"), ("values", "cross_entropy")):
        train(config(f"output={tmp_path / folder}", MLP, f"loss={loss}", "train.accumulate=2", "train.epochs=1"))
    ours, theirs = arrays(tmp_path / "scalar"), arrays(tmp_path / "values")
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-6, err_msg=name)


def test_a_dry_run_takes_a_whole_step(config, monkeypatch):
    count = []
    run = Stepper.run
    monkeypatch.setattr(Stepper, "run", lambda self, *given: (count.append(1), run(self, *given))[1])
    assert np.isfinite(dry_run(config(THREE)))
    assert len(count) == 3
