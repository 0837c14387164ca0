"""Figures of whole sets in a run: in its result, its records, its best checkpoints, and measured again."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.configs import loader

import ppema
from ppema.checkpoint.paths import checkpoints_of
from ppema.errors import ConfigError, DataError
from ppema.evaluation.prepared import prepare_evaluation
from ppema.log.curves import draw_curves
from ppema.log.records import read_metrics

METRICS = """
- accuracy
- {name: f1, args: {average: none, classes: [a, b, c]}, as: f1_of}
- confusion_matrix
- auc
- {name: support.metrics.HitsOf, args: {of: 1}, as: recall_of_1}
"""
MONITOR = "train.monitor=[ema/f1_of.b, raw/auc]"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    config = loader(folder, metrics=METRICS)(MONITOR, "train.epochs=2")
    return config, ppema.train(config)


def test_the_result_of_a_run_has_the_figures_that_are_numbers(trained):
    _, result = trained
    names = ["loss", "accuracy", "f1_of.a", "f1_of.b", "f1_of.c", "auc", "recall_of_1", "recall_of_1.count"]
    assert [list(figures) for figures in result.metrics.values()] == [names] * 3
    assert set(result.best) == {"ema/f1_of.b", "raw/auc"}


def test_records_have_arrays_too_and_curves_of_the_numbers(trained, tmp_path):
    config, result = trained
    records = [record for record in read_metrics(result.output) if record["kind"] == "eval"]
    for record in records:
        matrix = np.array(record["confusion_matrix"])
        assert matrix.shape == (3, 3) and matrix.sum() == 21
        assert np.trace(matrix) / 21 == record["accuracy"]
        assert matrix[1, 1] / matrix[1].sum() == record["recall_of_1"]
        assert record["f1_of.b"] == pytest.approx(2 * matrix[1, 1] / (matrix[1].sum() + matrix[:, 1].sum()), abs=1e-15)
    draw_curves(result.output, "f1_of.b", tmp_path / "curve.png")
    with pytest.raises(DataError, match="'confusion_matrix' is an array, not a number; numbers are loss, accuracy, f1_of.a"):
        draw_curves(result.output, "confusion_matrix", tmp_path / "curve.png")
    assert checkpoints_of(config).find("best").step == result.best["ema/f1_of.b"].step


def test_a_checkpoint_measured_again_has_the_figures_of_training_for_any_batch_size(trained):
    config, result = trained
    again = ppema.evaluate(config)
    for weights, figures in result.metrics.items():
        assert {name: value for name, value in again[weights].items() if not isinstance(value, list)} == figures
    by_one = ppema.evaluate(config.replace(data=config.data.replace(eval=config.data.eval.replace(batch_size=1))))
    for weights, figures in again.items():
        for name in ("confusion_matrix", "auc", "f1_of.a", "accuracy"):
            assert by_one[weights][name] == figures[name]


@pytest.mark.parametrize(
    ("metric", "monitor", "said"),
    [
        ("FewOnly", "raw/loss", r"metrics: FewOnly: ValueError: too many \(tests/support/metrics.py:\d+\)$"),
        ("OtherNames", "raw/OtherNames.few", "this evaluation has no figure 'OtherNames.few'; it has loss, OtherNames.many"),
    ],
)
def test_a_metric_that_fails_on_the_whole_set_ends_the_run_after_its_state_is_saved(metric, monitor, said, tmp_path):
    config = loader(tmp_path)(f"metrics=[support.metrics.{metric}]", f"train.monitor={monitor}", "train.mode=min")
    with pytest.raises(ConfigError, match=said):
        ppema.train(config)
    assert checkpoints_of(config).find("last").step == 10


@pytest.mark.parametrize("metric", ["Centred", "AboveMean"])
def test_statistics_that_depend_on_the_batch_are_refused(metric, tmp_path):
    config = loader(tmp_path)(f"metrics=[accuracy, support.metrics.{metric}]", "train.monitor=raw/loss")
    with pytest.raises(ConfigError, match=rf"metrics.1: {metric} of a sample depends on the other samples of its batch"):
        prepare_evaluation(config)


def test_a_metric_that_exits_is_an_error_in_one_line(tmp_path):
    config = loader(tmp_path)("metrics=[support.metrics.Leaving]", "train.monitor=raw/loss")
    with pytest.raises(ConfigError, match=r"metrics.0: Leaving: SystemExit: 0 \("):
        prepare_evaluation(config)


def test_weights_of_a_loss_that_are_negative_are_refused_before_the_run(tmp_path):
    config = loader(tmp_path)("loss=support.losses.negative_weights", "train.monitor=raw/accuracy")
    with pytest.raises(
        ConfigError, match=r"loss: loss: a weight of sample \d+ of data.eval is negative or not finite"
    ) as error:
        prepare_evaluation(config)
    assert len(error.value.problems) == 1


def test_built_in_metrics_warn_of_nothing(tmp_path):
    metrics = "[precision, recall, f1, confusion_matrix, auc, average_precision, {name: iou, args: {axis: 1}}, perplexity]"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*data.eval.batch_size")
        run = prepare_evaluation(loader(tmp_path)(f"metrics={metrics}", "train.monitor=raw/loss"))
    assert run.figures.numbers == ["loss", "precision", "recall", "f1", "auc", "average_precision", "iou", "perplexity"]
    run.close()


def test_metrics_of_ppema_take_one_output(tmp_path):
    config = loader(tmp_path)("metrics=[accuracy, {name: f1, output: [output]}]", "train.monitor=raw/loss")
    with pytest.raises(ConfigError, match=r"metrics.1: f1 takes one output and one target: name several"):
        prepare_evaluation(config)
