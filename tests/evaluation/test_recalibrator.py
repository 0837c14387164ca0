"""The measured statistics of a run's averages, and policies compared in one evaluation."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from support.configs import blobs, data_section, loader

from ppema.api import evaluate
from ppema.checkpoint.store import Checkpoints
from ppema.cli.eval import main as eval_main
from ppema.errors import CheckpointError, ConfigError, PpemaError
from ppema.training.loop import dry_run, train
from ppema.training.setup import prepare_training

# BatchNorm is the first layer, so its statistics are those of the images themselves.
SECTIONS = {
    "data": data_section(blobs("samples: 50, batch_size: 8, noise: 4"), blobs("samples: 21, batch_size: 8, noise: 4", "test")),
    "optimizer": "Momentum",
    "lr": "0.05",
    "averages": """
  ema: {decay: 0.9}
  copied: {decay: 0.9, batch_norm: copy}
  measured: {decay: 0.9, batch_norm: recalibrate, recalibrate_batches: 4}""",
    "train": "{epochs: 4, eval_every: 10 steps, save_every: 4 steps}",
}
STATISTICS = ("batch_norm2d_0.w_1", "batch_norm2d_0.w_2")


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path, **SECTIONS)


def last(output: Path):
    return Checkpoints(output / "checkpoints").find("last")


def test_a_checkpoint_holds_the_statistics_of_the_first_whole_training_batches(config, tmp_path):
    """Also if it was saved without an evaluation, at step 4."""
    train(config("train.stop_after=4 steps", "train.eval_every=100 steps"))
    run = prepare_training(config())
    images = np.concatenate([batch.arrays[0] for batch in islice(run.train_loader.epoch(0), 4)]).astype("float64")
    found = last(tmp_path / "run").weights("measured")
    np.testing.assert_allclose(found["batch_norm2d_0.w_1"], [images.mean()], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found["batch_norm2d_0.w_2"], [images.var()], rtol=1e-6)


def test_fewer_batches_than_asked_for_are_all_whole_ones_there_are(config, tmp_path):
    train(config("train.stop_after=1 step", "averages.measured.recalibrate_batches=100"))
    run = prepare_training(config())
    images = np.concatenate([batch.arrays[0] for batch in islice(run.train_loader.epoch(0), 6)])
    assert len(images) == 48
    found = last(tmp_path / "run").weights("measured")
    np.testing.assert_allclose(found["batch_norm2d_0.w_2"], [images.astype("float64").var()], rtol=1e-6)


def test_measuring_changes_no_other_byte_of_a_run(config, tmp_path):
    train(config())
    train(config("averages={ema: {decay: 0.9}}", f"output={tmp_path / 'without'}"))
    for part in ("raw", "average-ema"):
        ours, theirs = ((last(tmp_path / name).path / f"{part}.safetensors").read_bytes() for name in ("run", "without"))
        assert ours == theirs


def test_a_run_cut_in_two_ends_with_the_same_statistics(config, tmp_path):
    whole = train(config(f"output={tmp_path / 'whole'}"))
    train(config("train.stop_after=9 steps"))
    assert train(config()).metrics == whole.metrics
    ours, theirs = ((last(tmp_path / name).path / "average-measured.safetensors").read_bytes() for name in ("run", "whole"))
    assert ours == theirs
    assert evaluate(config()) == whole.metrics


def test_policies_compared_in_one_evaluation(config):
    """Each row equals the measurement of a run with that policy. The raw weights have no averaged statistics."""
    trained = train(config()).metrics
    found = evaluate(config(), weights="ema", batch_norm="all", recalibrate_batches=4)
    assert found == {
        "ema (average)": trained["ema"],
        "ema (copy)": trained["copied"],
        "ema (recalibrate)": trained["measured"],
    }
    assert len({tuple(measures.values()) for measures in found.values()}) == 3
    every = evaluate(config(), batch_norm=["average", "copy", "recalibrate"], recalibrate_batches=4)
    assert [row for row in every if row.startswith("raw")] == ["raw (copy)", "raw (recalibrate)"]
    assert every["raw (copy)"] == trained["raw"]
    assert [*evaluate(config(), batch_norm=["copy"])] == ["raw (copy)", "ema (copy)", "copied (copy)", "measured (copy)"]


def test_averaged_statistics_that_weights_do_not_have(config):
    """They are missing by policy, or because a pattern excludes them. With all weights they are omitted, unless none remain."""
    train(config("train.stop_after=1 step", "averages.ema.exclude=['w_[12]$']"))
    for weights in ("copied", "ema", "measured", "raw"):
        with pytest.raises(CheckpointError, match=f"no averaged statistics of '{weights}'; choose among copy, recalibrate"):
            evaluate(config(), weights=weights, batch_norm=["average"])
    assert "ema (average)" not in evaluate(config(), weights="ema", batch_norm="all")
    with pytest.raises(CheckpointError, match="none of its weights have averaged statistics: choose copy or recalibrate"):
        evaluate(config(), batch_norm=["average"])


def test_recalibrating_takes_as_many_batches_as_training_did_unless_told_otherwise(config):
    trained = train(config()).metrics
    assert evaluate(config(), weights="measured", batch_norm=["recalibrate"]) == {"measured (recalibrate)": trained["measured"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch_norm": "copy"}, "batch_norm: expected all, or some of average, copy, recalibrate, got 'copy'"),
        ({"batch_norm": ["recalibarte"]}, "batch_norm: expected all, or some of .*, got 'recalibarte'"),
        ({"batch_norm": []}, "batch_norm: expected all, or some of .*, got none"),
        ({"batch_norm": "all", "recalibrate_batches": 0}, "recalibrate_batches: expected an integer >= 1, got 0"),
        ({"recalibrate_batches": 3}, "recalibrate_batches requires batch_norm: recalibrate"),
        ({"recalibrate_batches": 3, "batch_norm": ["copy"]}, "recalibrate_batches requires batch_norm: recalibrate"),
        (
            {"weights": "a.safetensors", "checkpoint": "best"},
            "a.safetensors: a file of weights is evaluated as it is",
        ),
        (
            {"weights": "a.safetensors", "batch_norm": "all"},
            "a.safetensors: a file of weights is evaluated as it is",
        ),
    ],
)
def test_arguments_that_make_no_sense(config, arguments, said):
    with pytest.raises(PpemaError, match=said):
        evaluate(config(), **arguments)


def test_a_model_without_batch_norm_has_nothing_to_measure(config):
    mlp = "model={name: mlp, args: {in_features: 64, num_classes: 3}}"
    metrics = train(config(mlp)).metrics
    assert metrics["measured"] == metrics["ema"]
    # There are no policies to compare, and no training data is read.
    gone = config(mlp, "data.train={name: npz, path: gone.npz, batch_size: 8}")
    assert evaluate(gone, batch_norm="all") == metrics


def test_a_model_that_can_not_be_recalibrated_is_compared_by_what_is_left(config):
    twice = config("model=support.models.NormTwice", "averages={ema: {decay: 0.9}}")
    train(twice)
    assert [*evaluate(twice, batch_norm="all")] == ["raw (copy)", "ema (average)", "ema (copy)"]
    with pytest.raises(ConfigError, match="is used by 2 BatchNorm operations, so it can not be recalibrated"):
        evaluate(twice, batch_norm=["recalibrate"])


def test_a_dry_run_measures_too_and_writes_nothing(config, tmp_path):
    assert np.isfinite(dry_run(config()))
    assert not (tmp_path / "run").exists()


def test_a_batch_norm_used_twice_is_refused_before_anything_is_written(config, tmp_path):
    with pytest.raises(ConfigError, match="averages.measured: batch_norm1d_0.w_1 is used by 2 BatchNorm operations"):
        train(config("model=support.models.NormTwice"))
    assert not (tmp_path / "run").exists()


def test_the_command_line(config, tmp_path, capsys):
    train(config("train.stop_after=1 step"))
    arguments = ["-c", str(tmp_path / "small.yml"), "-o", f"output={tmp_path / 'run'}"]
    assert eval_main([*arguments, "--weights", "ema", "--batch-norm", "copy,recalibrate"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("  ")[0] for row in rows[1:]] == ["ema (copy)", "ema (recalibrate)"]
    assert eval_main([*arguments, "--batch-norm", "none"]) == 2
    assert "--batch-norm: expected all, or some of average, copy, recalibrate, got 'none'" in capsys.readouterr().err
    assert eval_main([*arguments, "--batch-norm", "all", "--recalibrate-batches", "0"]) == 2
    assert "--recalibrate-batches: expected an integer >= 1, got 0" in capsys.readouterr().err
