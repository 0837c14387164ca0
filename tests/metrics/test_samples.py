"""Metrics that are means of one value per sample, and their refusals."""

from __future__ import annotations

import numpy as np
import pytest
from support.measured import Spec, figure, values

from ppema.errors import ConfigError
from ppema.metrics import build_metrics

rng = np.random.default_rng(0)
LOGITS = rng.normal(size=(7, 5)).astype("float32") * 3
LABELS = rng.integers(0, 5, 7)
SOFT = rng.dirichlet(np.ones(5), 7).astype("float32")


def test_accuracy_and_top_k():
    ranked = np.argsort(-LOGITS, axis=-1)
    for name, args, k in (("accuracy", {}, 1), ("accuracy", {"k": 3}, 3), ("top5", {}, 5), ("top_k", {"k": 2}, 2)):
        expected = (ranked[:, :k] == LABELS[:, None]).any(axis=1)
        assert values(Spec(name, **args), LOGITS, LABELS) == expected.tolist()


def test_mse_and_mae_and_a_column_of_predictions():
    predictions, targets = np.array([[1.0], [2.0], [4.0]], "float32"), np.array([3.0, 2.0, 1.0], "float32")
    assert values(Spec("mae"), predictions, targets) == [2, 0, 3]
    assert values(Spec("mse"), predictions, targets) == [4, 0, 9]


def test_accuracy_of_soft_targets_counts_the_largest():
    expected = LOGITS.argmax(axis=1) == SOFT.argmax(axis=1)
    assert values(Spec("accuracy"), LOGITS, SOFT) == expected.tolist()


def test_equal_predictions_are_not_all_right():
    """A dead model, whose outputs are equal, is right about the first class only."""
    assert values(Spec("accuracy"), np.zeros((5, 5), "float32"), np.arange(5)) == [1, 0, 0, 0, 0]


def test_accuracy_of_pixels_with_a_threshold_and_without_padding():
    images, targets = rng.normal(size=(5, 3, 2, 4)).astype("float32"), rng.integers(0, 3, (5, 2, 4))
    targets[0] = 255  # a sample without any target that counts
    counted = targets != 255
    expected = (images.argmax(axis=1) == targets)[counted].mean()
    assert figure(Spec("accuracy", axis=1, ignore_index=255), images, targets) == pytest.approx(expected, rel=1e-7)
    one, labels = LOGITS[:, :1], LABELS % 2
    for form in (labels, labels.astype("float32")[:, None]):
        assert values(Spec("accuracy", threshold=0.5), one, form) == ((one[:, 0] > 0.5) == labels).tolist()


ONE = np.zeros((7, 1), "float32")


@pytest.mark.parametrize("targets", [ONE, np.zeros(7, "int64")])
def test_a_single_class_is_refused(targets):
    """Every argmax would be 0: a regression would have perfect figures."""
    with pytest.raises(ConfigError, match="accuracy needs two classes or more; the model gives float32"):
        values(Spec("accuracy"), ONE, targets)


@pytest.mark.parametrize(
    ("predictions", "targets", "form"),
    [
        (ONE, np.zeros(7, "float32"), r"float32 \[N\]"),
        (LOGITS, np.zeros(7, "float32"), r"float32 \[N\]"),
        (LOGITS, np.zeros((7, 1), "float32"), r"float32 \[N, 1\]"),
        (LOGITS, np.zeros((7, 4), "float32"), r"float32 \[N, 4\]"),
        (LOGITS, np.zeros((7, 1), "int64"), r"int64 \[N, 1\]"),
    ],
)
def test_accuracy_refuses_targets_that_do_not_fit(predictions, targets, form):
    with pytest.raises(ConfigError, match=rf"accuracy expects int64 class labels .*the data's targets are {form}$"):
        values(Spec("accuracy"), predictions, targets)


@pytest.mark.parametrize(
    ("specs", "lines"),
    [
        ([Spec("acuracy")], ["0.name: unknown metric 'acuracy'; did you mean 'accuracy'?"]),
        ([Spec("mse"), Spec("accuracy", kk=2)], ["1.args.kk: unknown argument of accuracy; did you mean 'k'?"]),
        ([Spec("mse"), Spec("mse")], ["1.name: there is already a metric named 'mse'"]),
        *[
            (
                [Spec("mse", called=key)],
                [f"0.as: {key!r} is a key of every record in metrics.jsonl: give the metric another name by `as`"],
            )
            for key in ("kind", "step", "epoch", "weights")
        ],
        ([Spec("top_k")], ["0.args.k: required argument of top_k is missing"]),
        ([Spec("f1", average="mean")], ["0.args.average: expected one of macro, micro, weighted, binary, none, got 'mean'"]),
        (
            [Spec("paddle.metric.Accuracy")],
            ["0.name: paddle.metric.Accuracy is a class, but no subclass of ppema.metrics.Metric"],
        ),
    ],
)
def test_metrics_that_can_not_be_built(specs, lines):
    with pytest.raises(ConfigError) as caught:
        build_metrics(specs)
    assert str(caught.value).splitlines() == lines
