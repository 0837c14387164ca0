"""Runs that are extended, and runs that continue in another folder."""

from __future__ import annotations

import math

import pytest
from support.configs import PLATEAU, loader
from support.runs import content, last

from ppema.checkpoint.store import Checkpoints
from ppema.config import Duration
from ppema.config.horizon import Horizon
from ppema.errors import CheckpointError
from ppema.log.records import read_metrics
from ppema.training.loop import train
from ppema.training.resuming.extension import extension

# Evaluations, saves and log lines come at the end of an epoch of 7 steps, so those of a longer run are the same.
EVERY = [f"train.{key}_every=7 steps" for key in ("log", "eval", "save")]
AVERAGES = (
    "averages={ema: {decay: 0.9}, quick: {decay: 0.99, thres_steps: true}, long: {half_life: 1 epoch, start: 3 steps}, "
    "power: {sigma_rel: 0.1}, sparse: {decay: 0.9, update_every: 4}}"
)
# The only length in percent of the run is one that changes no weight.
FREE = [*EVERY, AVERAGES, "train.keep_every=50 %"]
SCHEDULES = {
    "constant": "lr=0.05",
    "warmup": "lr={name: constant, args: {learning_rate: 0.05}, warmup: 20 steps}",
    "cosine of 4 epochs": "lr={name: CosineAnnealingDecay, args: {learning_rate: 0.05, T_max: 4 epochs}, warmup: 1 epoch}",
    "piecewise": "lr={name: PiecewiseDecay, args: {boundaries: [1 epoch, 14 steps], values: [0.05, 0.02, 0.01]}}",
    "plateau": PLATEAU % "0.0",
}


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """The folder of a run of four epochs with a warm-up."""
    folder = tmp_path_factory.mktemp("long")
    train(loader(folder)(*FREE, SCHEDULES["warmup"]))
    return folder / "run"


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_an_extended_run_ends_with_the_bytes_of_the_long_one(config, tmp_path, schedule):
    whole, grown = tmp_path / "whole", tmp_path / "run"
    train(config(*FREE, schedule, f"output={whole}"))
    train(config(*FREE, schedule, "train.epochs=2"))
    assert last(grown).name == "step-00000014"
    train(config(*FREE, schedule))
    assert content(last(grown)) == content(last(whole))
    assert "extended from 2 to 4 epochs\n" in (grown / "log.txt").read_text()


def test_one_that_was_stopped_in_the_middle_is_extended_too(config, tmp_path, long):
    train(config(*FREE, SCHEDULES["warmup"], "train.epochs=2", "train.stop_after=10 steps"))
    train(config(*FREE, SCHEDULES["warmup"]))
    ours, theirs = (content(last(each))["raw.safetensors"] for each in (tmp_path / "run", long))
    assert ours == theirs


def test_a_last_step_that_was_skipped_prepares_no_rate_twice(config, tmp_path, monkeypatch):
    """Step 14 is skipped: the rate after it is the one before it."""
    from ppema.training.stepper import Step, Stepper

    step = Stepper.run

    def skipping(self, batch, state):
        if state.step == 13:
            return Step(len(batch.indices), 1, math.nan, "it is 14")
        return step(self, batch, state)

    monkeypatch.setattr(Stepper, "run", skipping)
    train(config(*FREE, SCHEDULES["warmup"], f"output={tmp_path / 'whole'}"))
    train(config(*FREE, SCHEDULES["warmup"], "train.epochs=2"))
    train(config(*FREE, SCHEDULES["warmup"]))
    ours, theirs = (content(last(tmp_path / name)) for name in ("run", "whole"))
    assert ours == theirs


def test_what_is_a_share_of_the_run_is_refused_unless_it_is_accepted(config, tmp_path):
    shares = [*EVERY, "averages={ema: {decay: 0.9}, late: {half_life: 25 %, start: 75 %}}", "train.monitor=ema/accuracy"]
    train(config(*shares, "train.epochs=2"))
    before = content(last(tmp_path / "run"))
    said = (
        "step-00000014: it was trained with another config: train.epochs: was 2, now 4; lengths in percent of the run change "
        "with it: lr.args.T_max: 100 % was 14 steps, now 28; averages.late.half_life: 25 % was 3.5 steps, now 7; "
        "averages.late.start: 75 % was 10.5 steps, now 21: accept it (extend), or choose another output"
    )
    with pytest.raises(CheckpointError) as caught:
        train(config(*shares))
    assert str(caught.value).endswith(said)
    assert caught.value.remedy is not None and caught.value.remedy.extend
    assert content(last(tmp_path / "run")) == before

    train(config(*shares, f"output={tmp_path / 'whole'}"))
    assert train(config(*shares), extend=True).state.step == 28
    found, whole = (Checkpoints(tmp_path / name / "checkpoints").find("last").manifest for name in ("run", "whole"))
    assert found.lr == whole.lr, "the new schedule, where it stands at that step"
    assert found.averages["late"].total_weight == whole.averages["late"].total_weight, "begun at step 21"
    log = (tmp_path / "run/log.txt").read_text()
    assert "extended: averages.late.start: 75 % was 10.5 steps, now 21; until then the average is the weights again\n" in log
    # After 14 of 28 steps, 5 of them the warm-up's; the rate that the short run ended with, nine steps after its warm-up.
    assert "extended: the learning rate goes on at " in log
    rates = log.split("extended: the learning rate goes on at ")[1].splitlines()[0].split("; it was ")
    assert float(rates[1]) < float(rates[0]) < 0.05


def test_a_run_that_becomes_shorter_is_refused(config):
    train(config(*FREE, "lr=0.05", "train.stop_after=5 steps"))
    with pytest.raises(CheckpointError, match=r"train.epochs: was 4, now 2 \(train.stop_after ends a run sooner\); choose"):
        train(config(*FREE, "lr=0.05", "train.epochs=2"), extend=True)


def test_extending_hides_no_other_difference(config):
    train(config(*FREE, "lr=0.05", "train.epochs=2"))
    with pytest.raises(CheckpointError, match="another config: seed: was 0, now 1; train.epochs: was 2, now 4; choose another"):
        train(config(*FREE, "lr=0.05", "seed=1"), extend=True)


def test_every_duration_in_percent_counts_wherever_it_stands(config):
    given = config("lr={name: PiecewiseDecay, args: {boundaries: [50 %, 20 steps], values: [0.05, 0.02, 0.01]}, warmup: 10 %}")
    found = extension(given, Horizon(7, 8, 2), Horizon(7, 8, 4))
    assert [(each.key, each.before, each.now) for each in found.lengths] == [
        ("lr.args.boundaries.0", 7.0, 14.0),
        ("lr.warmup", pytest.approx(1.4), pytest.approx(2.8)),
    ]
    assert given.lr.warmup == Duration(10, "percent")


def test_another_runs_checkpoint_by_whatever_path_leads_to_it(config, tmp_path):
    """By `last`, `best`, the run's folder, its checkpoints folder, or the checkpoint itself."""
    train(config("train.stop_after=10 steps"))
    before, trained = content(last(tmp_path / "run")), set()
    for number, which in enumerate(("checkpoints/last", "checkpoints/best", "checkpoints", "", "checkpoints/step-00000010")):
        other = tmp_path / f"other-{number}"
        end = "train.stop_after=12 steps"
        assert train(config(f"output={other}", end), resume=str(tmp_path / "run" / which)).state.step == 12
        trained.add(content(last(other))["raw.safetensors"])
        assert len(trained) == 1
        assert content(last(tmp_path / "run")) == before
        said = (other / "log.txt").read_text()
        assert f"going on from {tmp_path}/run/checkpoints/step-00000010, of another run\n" in said


def test_the_runs_own_pointers_are_taken_as_paths_too(config, tmp_path):
    train(config())
    whole = content(last(tmp_path / "run"))
    best = Checkpoints(tmp_path / "run/checkpoints").find("best").step
    train(config(), resume=str(tmp_path / "run/checkpoints/best"))
    assert f"resuming at step {best} of 28\n" in (tmp_path / "run/log.txt").read_text()
    assert content(last(tmp_path / "run")) == whole


def test_another_runs_checkpoint_of_another_config_is_refused_with_what_differs(config, tmp_path):
    train(config("train.stop_after=10 steps"))
    source, other = tmp_path / "run/checkpoints/last", tmp_path / "other"
    with pytest.raises(CheckpointError, match="step-00000010: it was trained with another config: seed: was 0, now") as caught:
        train(config(f"output={other}", "seed=1"), resume=str(source))
    remedy = caught.value.remedy
    assert remedy is not None and remedy.resume == "auto"
    assert remedy.overrides == (f"init_from.path={source.parent}/step-00000010",)
    assert not other.exists()
    assert train(config(f"output={other}", "seed=1", *remedy.overrides)).state.step == 28


def test_another_runs_checkpoint_extends_as_the_own_one_does(config, tmp_path):
    train(config(*FREE, "lr=0.05", f"output={tmp_path / 'whole'}"))
    train(config(*FREE, "lr=0.05", "train.epochs=2"))
    train(config(*FREE, "lr=0.05", f"output={tmp_path / 'other'}"), resume=str(tmp_path / "run/checkpoints/last"))
    assert content(last(tmp_path / "other")) == content(last(tmp_path / "whole"))


def test_a_run_in_steps_ends_within_an_epoch_and_extends_like_one_in_epochs(config, tmp_path, long):
    """10 of 28 steps are one epoch of 7 and 3 more. `100 %` is the whole run; 4 epochs are the same run as 28 steps."""
    run, in_steps = tmp_path / "run", ("train.epochs=null", "train.steps=10")
    result = train(config(*FREE, SCHEDULES["warmup"], *in_steps))
    assert (result.state.step, result.state.epoch, result.state.batch) == (10, 1, 3)
    assert config(*in_steps).train.epochs is None
    with pytest.raises(CheckpointError, match="train.steps: was 10, now 9 .train.stop_after ends a run sooner"):
        train(config(*FREE, SCHEDULES["warmup"], "train.epochs=null", "train.steps=9"))
    train(config(*FREE, SCHEDULES["warmup"], "train.epochs=null", "train.steps=20"))
    train(config(*FREE, SCHEDULES["warmup"]))
    ours, theirs = (content(last(each))["raw.safetensors"] for each in (run, long))
    assert ours == theirs
    log = (run / "log.txt").read_text()
    assert "extended from 10 to 20 steps\n" in log and "extended from 20 steps to 4 epochs\n" in log
    assert train(config(*FREE, SCHEDULES["warmup"], "train.epochs=null", "train.steps=28")).state.step == 28
    assert log.count("extended from") == (run / "log.txt").read_text().count("extended from") == 2


def test_shares_of_a_run_in_steps(config, tmp_path):
    """The cosine over `100 %` of 10 steps has the rate 0 at its end; a tenth of the run is one step."""
    result = train(config("train={steps: 10, log_every: 10 %, eval_every: 1 epoch}", "lr.warmup=1 step"))
    rates = [each["lr"] for each in read_metrics(result.output) if each["kind"] == "train"]
    assert rates == [pytest.approx(0.025 * (1 + math.cos(math.pi * step / 10))) if step else 0.0 for step in range(10)]
