"""Losses and predictions that depend on the batch: evaluations are exact, or warn of an omission."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.configs import config
from support.runs import state_bytes, steps

from ppema.errors import ConfigError
from ppema.evaluation import dependence
from ppema.evaluation.evaluate import evaluate
from ppema.evaluation.prepared import prepare_evaluation
from ppema.ir import scope
from ppema.training.setup import prepare_training


def test_evaluation_is_exact_when_the_last_batch_is_short():
    """For every batch size, 1 included, and also for a loss that is a mean over the batch."""
    run = prepare_training(config("loss=support.losses.scalar_loss"))
    for _ in steps(run, 20):
        pass
    weights = run.read()["raw"]
    found = []
    for size in (1, 100, 354, 355, 1000):
        other = prepare_evaluation(config(f"data.eval.batch_size={size}", "loss=support.losses.scalar_loss"))
        scope.put(other.scope, weights)
        with paddle.static.scope_guard(other.scope):
            found.append(evaluate(other.executor, other.model.test, other.model.inputs, other.eval_loader))
    hits = found[0]["accuracy"] * other.eval_loader.samples
    assert abs(hits - round(hits)) < 1e-9
    for each in found:
        assert abs(each["accuracy"] - found[0]["accuracy"]) < 1e-12
        assert abs(each["loss"] - found[0]["loss"]) < 1e-6


OF_THE_BATCH = ["rooted_loss", "summed_loss", "weighted_loss", "contrastive_loss", "in_batch_loss"]


@pytest.mark.parametrize("model", ["cnn", "support.models.ZeroHead"])
@pytest.mark.parametrize("loss", OF_THE_BATCH)
def test_a_loss_that_is_no_mean_over_samples_is_trained_with_and_not_evaluated(loss, model):
    overrides = [f"loss=support.losses.{loss}", *([f"model={model}"] if model != "cnn" else [])]
    with pytest.warns(UserWarning, match=f"the loss support.losses.{loss} is no mean over samples: .* return"):
        run = prepare_training(config(*overrides))
    assert [list(test.measures) for test in run.tests.values()] == [["accuracy"]] * 3
    before = state_bytes(run)
    for _ in steps(run, 1):
        pass
    assert state_bytes(run) != before
    with pytest.warns(UserWarning, match="is no mean over samples"):
        assert list(prepare_evaluation(config(*overrides)).model.test.measures) == ["accuracy"]


def test_predictions_that_depend_on_the_batch_are_told():
    with pytest.warns(UserWarning, match="the model's predictions of a sample depend on the other samples of its batch"):
        run = prepare_training(config("model=support.models.Centred"))
    assert list(run.programs.model.test.measures) == ["loss", "accuracy"]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_loss_that_is_no_mean_is_found_at_any_batch_size(size):
    with pytest.warns(UserWarning, match="is no mean over samples"):
        prepare_evaluation(config("loss=support.losses.rooted_loss", f"data.eval.batch_size={size}"))


def test_trying_out_changes_no_weight():
    """The trial adds noise to the weights and restores them."""
    loss = "loss=support.losses.scalar_loss"
    assert state_bytes(prepare_training(config(loss))) == state_bytes(prepare_training(config()))


def test_what_needs_the_loss_of_evaluations_says_that_it_is_left_out():
    with (
        pytest.warns(UserWarning, match="is no mean over samples"),
        pytest.raises(ConfigError, match="train.monitor: 'loss' is not measured; measured are accuracy"),
    ):
        prepare_training(config("loss=support.losses.rooted_loss", "train.monitor=ema/loss"))
    with (
        pytest.warns(UserWarning, match="is no mean over samples"),
        pytest.raises(ConfigError, match="lr.name: ReduceOnPlateau goes by the evaluation's loss, and this loss is no mean"),
    ):
        prepare_training(config("loss=support.losses.rooted_loss", "lr={name: ReduceOnPlateau, args: {learning_rate: 0.1}}"))


def depends(together, *apart):
    parts = [np.array(each, "float64") for each in apart]
    return dependence.depends(np.array(together, "float64"), parts, [1] * len(parts), 1e-4)


def test_a_mean_whose_parts_cancel_is_a_mean():
    """The rounding error of 1 - 1 is as small as the mean itself."""
    assert not depends([6e-8], [1.0], [-1.0])
    assert not depends([0.0], [1.0], [-1.0])
    assert depends([0.01], [1.0], [-1.0])


def test_counts_may_differ_by_one_sample_and_by_few_percent_of_many():
    def miscounts(together, *apart, samples=8):
        return dependence.miscounts(np.array(together), [np.array(each) for each in apart], samples, 0.02)

    assert not miscounts(5, 2, 2)  # one hit less
    assert miscounts(5, 2, 1)
    assert not miscounts([3, 5], [2, 1], [2, 3])  # a sample in another class
    assert miscounts([4, 4], [2, 1], [0, 5])
    assert miscounts([3, 5], [2, 1], [0, 3])  # one more in each of two counts, as for two labels of a sample
    assert not miscounts(1000, 500, 481, samples=32)  # of as many pixels
    assert miscounts(1000, 500, 479, samples=32)
    assert miscounts([1, 2], 1, 2)
