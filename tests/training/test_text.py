"""A run on texts of different lengths, which are padded batch by batch."""

import warnings
from itertools import islice

import numpy as np
import pytest
from support.configs import Sections, data_section, loader
from support.runs import content, last

from ppema.api import evaluate
from ppema.checkpoint.store import Checkpoints
from ppema.errors import TrainingError
from ppema.evaluation.prepared import prepare_evaluation
from ppema.training.loop import train
from ppema.training.setup import prepare_training

TEXTS: Sections = {
    "model": "{name: support.task_models.BagOfWords, args: {vocabulary: 10}}",
    "data": "\n  train: {name: support.datasets.Texts, args: {samples: 52}, batch_size: 8, shuffle: true}\n"
    "  eval: {name: support.datasets.Texts, args: {samples: 20, seed: 1}, batch_size: 3}\n"
    "  inputs: [tokens]\n  targets: [label]\n  shapes: {tokens: [-1]}\n  collate: pad",
    "optimizer": "Adam",
    "lr": "0.05",
    "averages": "{ema: {decay: 0.9}}",
    "train": "{epochs: 6, eval_every: 42 steps}",
}


def test_padded_text(tmp_path):
    """It learns. Neither workers nor an interruption in the middle of an epoch change a bit."""
    config = loader(tmp_path, TEXTS)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the padding")
        whole = train(config())
    assert whole.metrics["ema"]["accuracy"] >= 0.8
    train(config(f"output={tmp_path / 'cut'}", "train.stop_after=11 steps"))
    train(config(f"output={tmp_path / 'cut'}", "data.train.workers=2"))
    assert content(last(tmp_path / "cut")) == content(last(tmp_path / "run"))


def test_padding_that_counts(tmp_path):
    """A mean over all tokens depends on the longest text of the batch."""
    config = loader(tmp_path, TEXTS)("model.args.masked=false")
    with pytest.warns(UserWarning, match="the padding of a batch changes the figures of its samples"):
        prepare_training(config)


@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize(
    ("how", "masked", "warns"), [("padded", True, 0), ("padded", False, 1), ("cut", True, 1), ("drawn", True, 1)]
)
def test_a_collate_function_that_depends_on_the_batch(tmp_path, how, masked, warns, size):
    config = loader(tmp_path, TEXTS)(
        f"data.collate={{name: support.collates.texts, args: {{how: {how}}}}}",
        f"model.args.masked={str(masked).lower()}",
        f"data.eval.batch_size={size}",
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare_evaluation(config)
    said = [str(each.message) for each in caught if "data.collate gives a sample other arrays" in str(each.message)]
    assert len(said) == warns


@pytest.mark.filterwarnings("ignore:the padding of a batch")
def test_statistics_are_measured_over_batches_of_different_lengths(tmp_path):
    """The mean and variance of all tokens of the batches together, in training and in an evaluation."""
    config = loader(tmp_path, TEXTS)(
        "model=support.task_models.NormedTokens",
        "averages={ema: {decay: 0.9, batch_norm: recalibrate, recalibrate_batches: 4}}",
        "train.stop_after=2 steps",
    )
    train(config)
    batches = [batch.arrays[0] for batch in islice(prepare_training(config).train_loader.epoch(0), 4)]
    assert len({tokens.shape for tokens in batches}) > 1
    tokens = np.concatenate([tokens.reshape(-1) for tokens in batches]).astype("float64")
    found = Checkpoints(tmp_path / "run/checkpoints").find("last").weights("ema")
    np.testing.assert_allclose(found["batch_norm1d_0.w_1"], [tokens.mean()], rtol=1e-6)
    np.testing.assert_allclose(found["batch_norm1d_0.w_2"], [tokens.var()], rtol=1e-6)
    again = evaluate(config, weights="ema", batch_norm=["recalibrate"])["ema (recalibrate)"]
    assert again == evaluate(config, weights="ema")["ema"]


@pytest.mark.parametrize("bad", ["train", "eval"])
def test_an_operation_that_fails_is_reported_with_its_samples(bad, tmp_path):
    """A token beyond the vocabulary."""
    sets = {
        part: f"{{name: support.datasets.OneLargeToken, args: {{at: {10 if part == bad else -1}}}, batch_size: 3}}"
        for part in ("train", "eval")
    }
    config = loader(tmp_path, TEXTS, data=data_section(sets["train"], sets["eval"]))(
        "train.epochs=1", "train.eval_every=1 epoch"
    )
    with pytest.raises(TrainingError, match=rf"^data\.{bad}: the batch of samples 9, 10, 11: an operation failed: [^\n]+$"):
        train(config)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=0", "is saved: the same command goes on from there"),
        ("train.accumulate=2", "is not saved, because the failed step may have changed the sums of gradients"),
        ("passes=[{name: programs.test_extra.Halve, after: optimize}]", "is not saved, because .* have changed the weights"),
    ],
)
def test_the_state_before_a_failed_step_is_saved_where_it_is_intact(override, said, tmp_path):
    """A token beyond the vocabulary in the fourth batch. The model has no BatchNorm."""
    sets = [f"{{name: support.datasets.OneLargeToken, args: {{at: {at}}}, batch_size: 3}}" for at in (10, -1)]
    config = loader(tmp_path, TEXTS, data=data_section(*sets))("train.epochs=1", "train.eval_every=1 epoch", override)
    with pytest.raises(TrainingError, match=rf"samples 9, 10, 11: .*The state after step \d {said}$"):
        train(config)
