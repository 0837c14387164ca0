"""Steps that are skipped because of a bad batch: only a count of them remains, and too many end the run."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import paddle
import pytest
from support.bad_batches import bad_batches
from support.configs import PLATEAU, data_section, loader
from support.drawn import drawn
from support.runs import content, last, state_bytes

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.state import BEGINNING, State
from ppema.checkpoint.store import Checkpoints
from ppema.data import Batch
from ppema.data.bad_sample import bad_sample
from ppema.errors import TrainingError
from ppema.evaluation.evaluate import evaluate as measured
from ppema.ir import backend, scope
from ppema.log.records import read_metrics
from ppema.training.checks.skipped import too_many
from ppema.training.loop import dry_run, train
from ppema.training.setup import prepare_training
from ppema.training.stepper import Stepper

WHY = "the gradient of batch_norm2d_0.w_0 (norm.weight) is not finite; sample 27 of data.train holds nan"
WHY_FIRST = WHY.replace("sample 27", "sample 3")
NAN_LOSS = "the gradient of batch_norm2d_0.w_0 (norm.weight) is not finite"
ADVICE = "lower the learning rate, set optimizer.clip_norm, or look for bad values in that batch"


@pytest.fixture
def config(tmp_path):
    """Batch 3 of each epoch, steps 4, 10 and 16 of 18, is bad."""
    return bad_batches(tmp_path, 3)


def everything(run):
    """Every persistable variable of the train program except the guard's, and the rate, which the executor sets."""
    names = set(backend().state_names(run.programs.train)) - {run.programs.guard.state_name, "learning_rate_0"}
    return {name: scope.get(run.scope, name).tobytes() for name in names}


SETTINGS = {
    "momentum": [],
    "adamw": ["optimizer={name: AdamW, weight_decay: 0.01, clip_norm: 1.0}"],
    "copy": ["averages={ema: {decay: 0.9, batch_norm: copy}}"],
    "recalibrate": ["averages={ema: {decay: 0.9, batch_norm: recalibrate}}"],
    "switch": ["averages={ema: {decay: 0.9, overwrite_every: 2 steps, overwrite_mix: 0.5}}"],
    "tensorflow": ["averages={ema: {decay: 0.9, bias_correction: false, update_every: 3}}"],
    "branches": [
        "model=support.models.NormInBranch",
        "averages={ema: {decay: 0.9}, quick: {decay: 0.8, overwrite_every: 3 steps}}",
    ],
    "counter": ["model=support.models.CountsTraining"],
    "bfloat16": ["model={name: support.models.OfType, args: {dtype: bfloat16, classes: 3}}", "optimizer={name: SGD}"],
    "float64": ["model={name: support.models.OfType, args: {dtype: float64, classes: 3}}", "optimizer={name: SGD}"],
}


WITH_BATCH_NORM = ("momentum", "adamw", "copy", "recalibrate", "switch", "tensorflow", "branches")


@pytest.mark.parametrize(
    ("setting", "value"), [*((each, np.nan) for each in SETTINGS), *((each, 1e20) for each in WITH_BATCH_NORM)]
)
def test_a_skipped_step_changes_no_byte_and_leaves_no_trace(tmp_path, setting, value):
    """Each bad step changes nothing, and the run ends, bit for bit, as a run without the bad batches.

    With 1e20 only the variance of BatchNorm is not finite.
    """
    config = bad_batches(tmp_path, 3, value=value)
    ours, other = (prepare_training(config(*SETTINGS[setting])) for _ in "ab")
    steppers = [Stepper(run, Begun()) for run in (ours, other)]
    skipped = 0
    for epoch in range(3):
        for index, batch in enumerate(ours.train_loader.epoch(epoch)):
            bad = index == 3
            before, state = everything(ours), replace(BEGINNING, step=6 * epoch + index)
            with paddle.static.scope_guard(ours.scope):
                step = steppers[0].run(batch, state)
            assert (step.skipped is not None) == bad
            assert (
                not bad or value != 1e20 or (np.isfinite(step.loss) and step.skipped.startswith("the new value of batch_norm"))
            )
            assert (everything(ours) == before) == bad
            skipped += bad
            if not bad:
                with paddle.static.scope_guard(other.scope):
                    steppers[1].run(batch, state)
    assert skipped == 3
    assert state_bytes(ours) == state_bytes(other)
    for run in (ours, other):
        run.close()


@pytest.mark.parametrize("weight", [np.nan, -1.0])
def test_a_loss_with_a_bad_weight_skips_the_step(tmp_path, weight):
    """The loss of its batch would otherwise be 0 or have another sign. In evaluation, whose data is finite, it is NaN."""
    rng = np.random.default_rng(0)
    arrays = {"images": rng.normal(size=(16, 1, 8, 8)).astype("float32"), "labels": rng.integers(0, 3, 16)}
    weights = np.ones(16, "float32")
    weights[9] = weight
    np.savez(tmp_path / "d.npz", **arrays, weights=weights)
    np.savez(tmp_path / "e.npz", **arrays, weights=np.where(np.arange(16) == 9, np.float32(-1), 1))
    npz = f"{{name: npz, path: {tmp_path / 'd.npz'}, inputs: [images], target: [labels, weights], batch_size: 8}}"
    sections = {"loss": "{name: support.losses.given_weights, target: [labels, weights]}", "metrics": "[]"}
    fields = "\n  inputs: [images]\n  targets: [labels, weights]"
    config = loader(tmp_path, data=data_section(npz, npz.replace("d.npz", "e.npz")) + fields, **sections, train="{epochs: 1}")()
    with closing(prepare_training(config)) as run, paddle.static.scope_guard(run.scope):
        stepper = Stepper(run, Begun())
        steps = [stepper.run(batch, BEGINNING) for batch in run.train_loader.epoch(0)]
        found = measured(run.executor, run.tests["raw"], run.programs.model.inputs, run.eval_loader)
    assert [each.skipped is not None for each in steps] == [False, True]
    assert "is not finite" in steps[1].skipped
    assert list(found) == ["loss"] and np.isnan(found["loss"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run from start to end, on the same data as those of `config`."""
    folder = tmp_path_factory.mktemp("whole")
    result = train(bad_batches(folder, 3)())
    assert (result.state.step, result.state.skipped, result.state.updates) == (18, 3, 15)
    return folder / "run"


@pytest.mark.parametrize("stop", [3, 4, 5, 11])
def test_a_run_cut_around_a_skipped_step_ends_as_the_whole_one(config, tmp_path, whole, stop):
    cut = tmp_path / "cut"
    assert train(config(f"output={cut}", f"train.stop_after={stop} steps")).state.step == stop
    train(config(f"output={cut}"))
    ours, theirs = content(last(cut)), content(last(whole))
    ours, theirs = ({name: value for name, value in each.items() if name != "manifest"} for each in (ours, theirs))
    assert ours == theirs
    ours, theirs = (Checkpoints(each / "checkpoints").find("last").manifest for each in (cut, whole))
    assert (ours.state, ours.lr, ours.metrics) == (theirs.state, theirs.lr, theirs.metrics)
    assert ours.state.skipped == 3


def test_what_is_logged_of_a_skipped_step(config, tmp_path, monkeypatch):
    losses, step = [], Stepper.run
    monkeypatch.setattr(Stepper, "run", lambda self, *given: (losses.append(step(self, *given)), losses[-1])[1])
    train(config())
    lines = (tmp_path / "run/log.txt").read_text().splitlines()
    places = [("4", "0"), ("10", "1"), ("16", "2")]
    expected = [f"warning: step {number} (epoch {epoch}, batch 3) is skipped: {WHY}" for number, epoch in places]
    assert [line for line in lines if "skipped" in line] == expected
    records = [record for record in read_metrics(tmp_path / "run") if record["kind"] == "train"]
    assert [(record["step"], record["skipped"]) for record in records] == [(5, 1), (10, 2), (15, 2), (18, 3)]
    # The mean of the steps that were not skipped. Rate and decays count these steps only.
    assert records[0]["loss"] == np.mean([each.loss for each in losses[:5] if each.skipped is None])
    assert records[0]["lr"] == pytest.approx(3 / 5 * 0.025 * (1 + np.cos(np.pi * 3 / 18)))
    made = prepare_training(config()).programs.averages["quick"].rule
    assert records[1]["decay"]["quick"] == made.decay_at(8) != made.decay_at(10)


def test_visualdl_counts_the_skipped(whole):
    assert drawn(whole, "train", "train/skipped") == [(5, 1.0), (10, 2.0), (15, 2.0), (18, 3.0)]


def test_too_many_end_the_run_which_goes_on_with_more(config, tmp_path, whole):
    with pytest.raises(TrainingError) as caught:
        train(config("train.max_skipped=1"))
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        f"step 10 (epoch 1, batch 3) is skipped: {WHY}; these are 2 skipped steps, and train.max_skipped is 1: {ADVICE}. "
        "The state is saved: with a larger train.max_skipped the run goes on from it"
    )
    saved = Checkpoints(tmp_path / "run/checkpoints").find("last")
    assert (saved.manifest.state.step, saved.manifest.state.skipped) == (10, 2)
    assert all(
        np.isfinite(array).all() for part in ("raw", "optimizer", "average-ema") for array in saved.arrays(part).values()
    )
    with pytest.raises(TrainingError, match=r"^step 16 .* these are 3 skipped steps, and train.max_skipped is 1"):
        train(config("train.max_skipped=1"))
    train(config("train.max_skipped=3"))
    ours, theirs = content(last(tmp_path / "run")), content(last(whole))
    assert all(ours[name] == theirs[name] for name in theirs if name != "manifest")


def test_none_is_too_many_without_a_limit(config, tmp_path):
    """No step of this run changes a weight."""
    with pytest.raises(TrainingError, match="^all 18 steps were skipped, the last one because "):
        train(config("loss=support.losses.nan_loss", "train.max_skipped=null", "data.eval.batch_size=4"))
    state = Checkpoints(tmp_path / "run/checkpoints").find("last").manifest.state
    assert (state.step, state.skipped) == (18, 18)
    records = [record for record in read_metrics(tmp_path / "run") if record["kind"] == "train"]
    assert [record["loss"] for record in records] == [None] * 4


def test_a_larger_limit_is_no_advice_where_all_steps_are_skipped(config, tmp_path):
    """No step of this run changes a weight, so the batches are an unlikely cause."""
    row = "with a larger train.max_skipped the run goes on from it"
    with pytest.raises(TrainingError, match=f"step 2 .*: {ADVICE}. The state is saved: {row}$"):
        train(config("loss=support.losses.nan_loss", "train.max_skipped=1"))
    with pytest.raises(TrainingError) as caught:
        train(config(f"output={tmp_path / 'other'}", "loss=support.losses.nan_loss", "train.max_skipped=2"))
    assert str(caught.value) == (
        f"step 3 (epoch 0, batch 2) is skipped: {NAN_LOSS}; these are 3 skipped steps, and train.max_skipped is 2: {ADVICE}. "
        "The state is saved, but the last 3 steps were all skipped, and with a larger train.max_skipped later ones would most "
        "likely be too: begin anew in another output"
    )


def test_the_log_names_the_statistic_and_the_sample(tmp_path):
    train(bad_batches(tmp_path, 3, value=-1e20)())
    lines = (tmp_path / "run/log.txt").read_text().splitlines()
    variance = "the new value of batch_norm2d_0.w_2 (norm._variance) is not finite; sample 27 of data.train holds -1e+20"
    places = [("4", "0"), ("10", "1"), ("16", "2")]
    expected = [f"warning: step {number} (epoch {epoch}, batch 3) is skipped: {variance}" for number, epoch in places]
    assert [line for line in lines if line.startswith("warning")] == expected


def test_a_sample_is_named_for_a_number_whose_square_float32_does_not_hold():
    def named(*arrays):
        return bad_sample(Batch(arrays, np.array([7, 3, 9])), "data.train")

    images, labels = np.zeros((3, 2, 2), "float32"), np.array([0, 2**62, 1])
    assert named(images, labels) == ""
    images[1, 0, 1] = 1.8e19
    assert named(images, labels) == ""
    images[2, 1, 1] = -1.9e19
    assert named(images, labels) == "sample 9 of data.train holds -1.9e+19"
    images[1, 0, 0] = np.inf
    assert named(images, labels) == "sample 3 of data.train holds inf"
    assert named(labels, np.array([0.0, np.nan, 0.0])) == "sample 3 of data.train holds nan"


def test_a_dry_run_says_so(tmp_path):
    with pytest.raises(TrainingError) as caught:
        dry_run(bad_batches(tmp_path, 0)())
    assert str(caught.value) == f"step 1 (epoch 0, batch 0) would be skipped: {WHY_FIRST}: {ADVICE}"


def test_a_plateau_is_none_the_wiser(config, tmp_path):
    """Its rate depends on evaluations, and skipped steps do not change these."""
    train(config(PLATEAU % "1e9", "train.eval_every=1 epoch"))
    rates = [record["lr"] for record in read_metrics(tmp_path / "run") if record["kind"] == "train"]
    assert rates == pytest.approx([0.08, 0.08, 0.008, 0.008])


def test_a_run_of_skipped_steps_alone_fails_and_one_that_ends_with_them_warns(tmp_path):
    with pytest.raises(TrainingError, match=r"^all 6 steps were skipped, the last one because .*\. The state is saved$"):
        train(bad_batches(tmp_path, *range(6))("train.epochs=1", f"output={tmp_path / 'all'}"))
    train(bad_batches(tmp_path, 3, 4, 5)("train.epochs=1"))
    lines = (tmp_path / "run/log.txt").read_text()
    assert "warning: 3 of 6 steps were skipped, also the last 3, the last one because" in lines


def test_how_many_are_too_many_by_hand():
    """Skipped steps are counted before this one. After three in a row the message recommends no larger limit."""
    before = State(step=9, epoch=1, batch=3, samples=72, skipped=2)
    assert too_many(before, None, 0, 0) is None, "it was not skipped"
    assert too_many(before, "x", None, 9) is None and too_many(before, "x", 3, 9) is None
    assert too_many(before, "x", 2, 9, overflows=1) is None, "a step that lowered the loss scale does not count"
    said = f"step 10 (epoch 1, batch 3) is skipped: x; these are 3 skipped steps, and train.max_skipped is 2: {ADVICE}."
    assert str(too_many(before, "x", 2, 2)) == (
        f"{said} The state is saved: with a larger train.max_skipped the run goes on from it"
    )
    assert str(too_many(before, "x", 2, 3)) == (
        f"{said} The state is saved, but the last 3 steps were all skipped, and with a larger train.max_skipped later ones "
        "would most likely be too: begin anew in another output"
    )
