"""What is another run, and so is refused when a run is resumed."""

from __future__ import annotations

import numpy as np
import pytest
from support.checkpoints import written_again
from support.configs import COMPENSATED, loader
from support.runs import content, last, losses

from ppema.checkpoint.best import Best
from ppema.checkpoint.manifest import Manifest
from ppema.errors import CheckpointError
from ppema.training.loop import train


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


def test_another_runs_checkpoint_is_not_gone_on_from_in_this_runs_folder(config, tmp_path):
    train(config("train.stop_after=10 steps"))
    train(config(f"output={tmp_path / 'other'}", "train.stop_after=5 steps"))
    before = content(last(tmp_path / "run"))
    with pytest.raises(CheckpointError, match="there are checkpoints of a run, and going on from .*other.* would mix two runs"):
        train(config(), resume=str(last(tmp_path / "other")))
    assert content(last(tmp_path / "run")) == before


def test_nor_where_there_are_records_of_another_run_alone(config, tmp_path):
    train(config("train.stop_after=10 steps"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.jsonl").write_text('{"kind": "train", "step": 10, "epoch": 1.0, "loss": 0.5, "lr": 0.1, "decay": {}}\n')
    with pytest.raises(CheckpointError, match=r"other: there are records of a run, and going on from .* would mix two runs"):
        train(config(f"output={other}"), resume=str(last(tmp_path / "run")))
    (other / "metrics.jsonl").write_text('{"kind": "train", "step": 11, "epoch": 1.0, "loss": 0.5, "lr": 0.1, "decay": {}}\n')
    train(config(f"output={other}"), resume=str(last(tmp_path / "run")))
    assert [step for step, _ in losses(other)] == [15, 20, 25, 28]


def test_data_that_grew_or_shrank_is_another_runs(config, tmp_path):
    file, rng = tmp_path / "data.npz", np.random.default_rng(0)

    def of(samples):
        np.savez(file, images=rng.normal(size=(samples, 1, 8, 8)).astype("float32"), labels=np.arange(samples) % 3)
        return config(
            f"data.train={{name: npz, path: {file}, inputs: [images], target: labels, batch_size: 8}}",
            "train.stop_after=7 steps",
        )

    train(of(48))
    before = content(last(tmp_path / "run"))
    said = "step-00000007: step 7 led to batch 1 of epoch 1, and an epoch has 5 batches: the training data has changed"
    with pytest.raises(CheckpointError, match=said):
        train(of(40))
    assert content(last(tmp_path / "run")) == before


def test_the_best_by_what_nobody_monitors_is_nobodys(config, tmp_path):
    train(config("train.stop_after=3 steps"))
    saved = last(tmp_path / "run")
    written_again(Manifest, saved, best={"long/loss": Best("long/loss", 0.5, 3)})
    assert train(config("train.stop_after=5 steps")).state.step == 5
    assert not (tmp_path / "run/checkpoints/best-long-loss").exists()


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The function that loads the config of a run of one step. What is refused changes no byte of its folder."""
    config = loader(tmp_path_factory.mktemp("begun"))
    train(config("train.stop_after=1 step"))
    return config


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "model.args.classes=4",
        "data.train.noise=0.75",
        "data.train.batch_size=9",
        "data.train.shuffle=false",
        "loss={name: cross_entropy, args: {label_smoothing: 0.1}}",
        "optimizer.args.momentum=0.8",
        "optimizer.weight_decay=0.1",
        "lr.warmup=6 steps",
        "averages.more={decay: 0.5}",
        "train.epochs=5",
        "train.monitor=raw/accuracy",
    ],
)
def test_every_change_that_matters_is_refused_on_resuming(begun, change):
    with pytest.raises(CheckpointError, match=f"another config: {change.split('=')[0].replace('.', '[.]')}"):
        train(begun(change))


def test_another_config_is_refused_with_its_differences(config, tmp_path):
    train(config("train.stop_after=3 steps"))
    said = r"another config: lr.args.learning_rate: was 0.05, now 0.1; averages.ema.decay: was 0.9, now 0.5; choose"
    with pytest.raises(CheckpointError, match=said):
        train(config("lr.args.learning_rate=0.1", "averages.ema.decay=0.5", "train.log_every=1 step"))


def test_another_precision_is_another_run(config):
    train(config("train.stop_after=5 steps"))
    with pytest.raises(CheckpointError, match="averages.quick.precision: was 'float32', now 'compensated'"):
        train(config(COMPENSATED))
