"""Metrics against scikit-learn: counts exactly, ratios to rounding in float64, the same for every batch size."""

from __future__ import annotations

import numpy as np
import pytest
from support.measured import Spec, figure, figures

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed: requirements-dev.txt")

rng = np.random.default_rng(0)
# Class 3 of 5 is absent from targets and predictions, class 4 is never predicted, class 2 never true. Many scores are equal.
LABELS = rng.choice([0, 1, 4], 43)
LOGITS = np.round(rng.normal(size=(43, 5)) * 4).astype("float32") / 4
LOGITS[:, 3:] = -9
BINARY = rng.integers(0, 2, 43)
SCORES = np.round(rng.normal(size=43) + BINARY, 1).astype("float32")
GUESSED = LOGITS.argmax(axis=1)
SCORERS = {"precision": sklearn.precision_score, "recall": sklearn.recall_score, "f1": sklearn.f1_score}


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("zero", [0, 1])
def test_scores_of_classes(name, zero):
    """Averages are over the classes that occur; each class has a figure, also one that is absent."""
    score = SCORERS[name]
    for average in ("macro", "micro", "weighted"):
        expected = score(LABELS, GUESSED, average=average, zero_division=zero)
        assert figure(Spec(name, average=average, zero_division=zero), LOGITS, LABELS) == pytest.approx(expected, abs=1e-15)
    assert figure(Spec(name, zero_division=zero), LOGITS, LABELS) == pytest.approx(
        score(LABELS, GUESSED, average="macro", zero_division=zero), abs=1e-15
    )
    each = figures(Spec(name, average="none", zero_division=zero), LOGITS, LABELS)
    expected = score(LABELS, GUESSED, average=None, labels=range(5), zero_division=zero)
    assert list(each) == [f"{name}.{index}" for index in range(5)]
    np.testing.assert_allclose(list(each.values()), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", SCORERS)
def test_scores_of_one_output_and_of_two(name):
    expected = SCORERS[name](BINARY, SCORES > 0.5)
    for predictions, targets in ((SCORES, BINARY), (SCORES[:, None], BINARY), (SCORES[:, None], BINARY.astype("float32"))):
        assert figure(Spec(name, threshold=0.5), predictions, targets, [7]) == pytest.approx(expected, abs=1e-15)
    two = np.stack([np.zeros_like(SCORES), SCORES], axis=1)
    assert figure(Spec(name), two, BINARY, [7]) == pytest.approx(SCORERS[name](BINARY, SCORES > 0), abs=1e-15)


def test_confusion_matrix():
    assert (
        figure(Spec("confusion_matrix"), LOGITS, LABELS) == sklearn.confusion_matrix(LABELS, GUESSED, labels=range(5)).tolist()
    )
    ignored = sklearn.confusion_matrix(LABELS[LABELS != 4], GUESSED[LABELS != 4], labels=range(5)).tolist()
    assert figure(Spec("confusion_matrix", ignore_index=4), LOGITS, LABELS, [7]) == ignored


def test_iou_and_dice_of_images():
    """[N, C, H, W] with targets [N, H, W]; 255 marks what does not count. Absent classes are left out of the mean."""
    predictions, targets = rng.normal(size=(9, 4, 5, 6)).astype("float32"), rng.integers(0, 3, (9, 5, 6))
    predictions[:, 3] = -9
    targets[rng.random(targets.shape) < 0.2] = 255
    true, guessed = targets[targets != 255], predictions.argmax(axis=1)[targets != 255]
    for name, score in (("iou", sklearn.jaccard_score), ("dice", sklearn.f1_score)):
        found = figure(Spec(name, axis=1, ignore_index=255), predictions, targets)
        assert found == pytest.approx(score(true, guessed, average="macro"), abs=1e-15)
        each = figures(Spec(name, axis=1, ignore_index=255, average="none", classes=list("abcd")), predictions, targets, [7])
        assert list(each) == [f"{name}.{label}" for label in "abcd"]
        np.testing.assert_allclose(list(each.values())[:3], score(true, guessed, average=None), rtol=0, atol=1e-15)
        assert np.isnan(each[f"{name}.d"])


def test_auc_and_average_precision_with_ties():
    assert len(np.unique(SCORES)) < len(SCORES)
    for name, score in (("auc", sklearn.roc_auc_score), ("average_precision", sklearn.average_precision_score)):
        expected = score(BINARY, SCORES)
        for predictions, targets in ((SCORES, BINARY), (SCORES[:, None], BINARY.astype("float32")[:, None])):
            assert figure(Spec(name), predictions, targets) == pytest.approx(expected, abs=1e-14)
        two = np.stack([-SCORES, SCORES], axis=1)
        assert figure(Spec(name), two, BINARY, [7]) == pytest.approx(expected, abs=1e-14)


def test_auc_of_several_classes_is_the_mean_over_those_that_occur():
    labels = rng.integers(0, 5, 43)
    logits = rng.normal(size=(43, 5)).astype("float32")
    chances = np.exp(logits.astype("float64")) / np.exp(logits.astype("float64")).sum(axis=1, keepdims=True)
    expected = sklearn.roc_auc_score(labels, chances, multi_class="ovr", average="macro")
    assert figure(Spec("auc"), logits, labels) == pytest.approx(expected, abs=1e-14)
    assert figure(Spec("auc", logits=False), chances.astype("float32"), labels, [7]) == pytest.approx(expected, abs=1e-14)
    each = [sklearn.roc_auc_score(label == LABELS, chances[:, label]) for label in (0, 1, 4)]
    assert figure(Spec("auc"), logits, LABELS, [7]) == pytest.approx(np.mean(each), abs=1e-14)


def test_r2_and_rmse():
    """Far from zero, where Σy² - (Σy)²/n would have no digit left; and of several outputs, one of them constant."""
    targets = (1e4 + rng.normal(size=(43, 3))).astype("float32")
    targets[:, 2] = 5
    predictions = targets + rng.normal(size=(43, 3)).astype("float32") / 3
    expected = sklearn.r2_score(targets.astype("float64"), predictions.astype("float64"))
    assert figure(Spec("r2"), predictions, targets) == pytest.approx(expected, abs=1e-12)
    one = sklearn.r2_score(targets[:, 0].astype("float64"), predictions[:, 0].astype("float64"))
    assert figure(Spec("r2"), predictions[:, :1], targets[:, 0], [7]) == pytest.approx(one, abs=1e-12)
    expected = sklearn.root_mean_squared_error(targets[:, 0].astype("float64"), predictions[:, 0].astype("float64"))
    assert figure(Spec("rmse"), predictions[:, :1], targets[:, 0]) == pytest.approx(expected, rel=1e-7)


def test_ten_thousand_samples():
    labels = rng.integers(0, 2, 10_000)
    scores = (rng.normal(size=10_000) + labels).astype("float32")
    scores[::3] = np.round(scores[::3], 1)
    assert figure(Spec("auc"), scores, labels, [999]) == pytest.approx(sklearn.roc_auc_score(labels, scores), abs=1e-14)
    matrix = figure(Spec("confusion_matrix"), scores, labels, [999, None])
    assert matrix == sklearn.confusion_matrix(labels, scores > 0).tolist()
