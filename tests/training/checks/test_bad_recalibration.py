"""Averages where batches are bad: what is recalibrated, and which have a value to evaluate."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.bad_batches import bad_batches
from support.runs import last

from ppema.api import evaluate
from ppema.checkpoint.store import Checkpoints
from ppema.errors import CheckpointError, TrainingError
from ppema.log.records import read_metrics
from ppema.training.loop import train

WHY = "the gradient of batch_norm2d_0.w_0 (norm.weight) is not finite; sample 3 of data.train holds nan"
RECALIBRATED = "averages={ema: {decay: 0.9, batch_norm: recalibrate, recalibrate_batches: 6}}"


def test_the_state_is_saved_and_the_culprit_named_where_recalibration_meets_the_bad_batch_as_well(tmp_path):
    config = bad_batches(tmp_path, *range(6))
    with pytest.raises(TrainingError, match=re.escape(f"step 1 (epoch 0, batch 0) is skipped: {WHY}; these are 1 skipped")):
        train(config(RECALIBRATED, "train.max_skipped=0"))
    assert last(tmp_path / "run").name == "step-00000001"


@pytest.mark.parametrize("value", [np.nan, 1e20])
def test_a_recalibration_leaves_out_a_bad_batch_and_says_so_once(tmp_path, value):
    """As a training step is skipped. The statistics are those of the other five batches."""
    config = bad_batches(tmp_path, 3, value=value)
    result = train(config(RECALIBRATED, "train.eval_every=6 steps"))
    assert result.state.step == 18
    lines = [line for line in (tmp_path / "run/log.txt").read_text().splitlines() if "recalibration" in line]
    (line,) = lines
    assert re.fullmatch(
        r"warning: the recalibration of 'ema' leaves out 1 of 6 batches: in batch 3 batch_norm2d_0.w_[12].ema is not finite; "
        rf"sample 27 of data.train holds {re.escape(f'{value:g}')}",
        line,
    )
    images = np.load(tmp_path / "data.npz")["images"].astype("float64")
    good = np.concatenate([images[:24], images[32:]])
    found = Checkpoints(tmp_path / "run/checkpoints").find("last").weights("ema")
    np.testing.assert_allclose(found["batch_norm2d_0.w_1"], [good.mean()], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found["batch_norm2d_0.w_2"], [good.var()], rtol=1e-6)
    with pytest.warns(UserWarning, match="the recalibration of 'raw' leaves out 1 of 6 batches: in batch 3"):
        evaluate(config(RECALIBRATED), weights="ema", batch_norm=["recalibrate"])


def test_an_average_that_can_not_be_recalibrated_ends_the_run_once_its_state_is_saved(tmp_path):
    config = bad_batches(tmp_path, 0)
    one = RECALIBRATED.replace("batches: 6", "batches: 1")
    run = [one, "train.eval_every=6 steps", "train.monitor=ema/loss", "train.max_skipped=null"]
    said = "the average 'ema' after step 6: recalibrate: .* is not finite.*The state is saved, with the statistics before"
    with pytest.raises(TrainingError, match=said):
        train(config(*run))
    found = Checkpoints(tmp_path / "run/checkpoints").find("last").manifest
    assert found.state.step == 6
    assert list(found.metrics) == ["raw"] and found.best == {}


@pytest.mark.parametrize("evaluated", ["null", "[ema]"])
def test_averages_without_a_value_are_not_evaluated(tmp_path, evaluated):
    """Steps 1 to 4 are skipped. An average of zeros would have a loss of ln 3 there, and might be the best one."""
    averages = "{ema: {decay: 0.9}, late: {decay: 0.9, start: 5 steps}, measured: {decay: 0.9, batch_norm: recalibrate}}"
    run = [f"averages={averages}", "train.eval_every=2 steps", "train.epochs=1", f"train.evaluate={evaluated}"]
    stop = "train.early_stop={monitor: ema/loss, patience: 1, min_change: 1000}"
    config = bad_batches(tmp_path, 0, 1, 2, 3)
    result = train(config(*run, "train.monitor=ema/loss", "train.stop_after=4 steps", stop))
    assert result.best == {} and result.early_stop is None and result.metrics.keys() <= {"raw"}
    with pytest.raises(CheckpointError, match="step-00000004: the average 'ema' has no value yet: all 4 steps were skipped"):
        evaluate(config(*run, "train.monitor=ema/loss"), weights="ema")
    result = train(config(*run, "train.monitor=ema/loss", stop))
    assert result.best["ema/loss"].step == 6 and result.early_stop is None
    lines = (tmp_path / "run/log.txt").read_text().splitlines()
    assert lines.count("warning: no step has changed the weights yet: averages are not evaluated") == 1
    records = [(each["step"], each["weights"]) for each in read_metrics(tmp_path / "run") if each["kind"] == "eval"]
    if evaluated == "null":
        names = ["raw", "ema", "late", "measured"]
        assert records == [(2, "raw"), (4, "raw"), *((6, name) for name in names)]
        assert result.metrics["late"] == pytest.approx(result.metrics["raw"], rel=1e-6), "before its start"
    else:
        assert records == [(6, "ema")]
