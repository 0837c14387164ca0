"""Several labels of a sample, against scikit-learn; and the same shape as positions, which the config must tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from support.measured import Spec, figure, figures

from ppema.errors import ConfigError

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed: requirements-dev.txt")

rng = np.random.default_rng(3)
# Label 3 is neither true nor predicted, label 4 never predicted. Many scores are equal. Labels differ in their shares.
TARGETS = (rng.random((41, 5)) < [0.2, 0.5, 0.8, 0, 0.3]).astype("int64")
SCORES = np.round(rng.normal(size=(41, 5)) + TARGETS, 1).astype("float32")
SCORES[:, 3:] -= 9
GUESSED = SCORES > 0.5
OF_SKLEARN = {
    "precision": sklearn.precision_score,
    "recall": sklearn.recall_score,
    "f1": sklearn.f1_score,
    "auc": sklearn.roc_auc_score,
    "average_precision": sklearn.average_precision_score,
}


def labels(name, sizes=(1, 7, None), **args):
    return figures(Spec(name, multilabel=True, **args), SCORES, TARGETS, sizes)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
@pytest.mark.parametrize("zero", [0, 1])
def test_averages_over_labels(name, zero):
    """Unlike a class, a label without any yes counts in averages, with `zero_division`."""
    args = {"threshold": 0.5, "zero_division": zero}
    for average in ("macro", "micro", "weighted", None):
        expected = OF_SKLEARN[name](TARGETS, GUESSED, average=average or "macro", zero_division=zero)
        assert labels(name, [7], average=average, **args) == {name: pytest.approx(expected, abs=1e-15)}
    expected = OF_SKLEARN[name](TARGETS, GUESSED, average=None, zero_division=zero)
    each = labels(name, average="none", classes=list("abcde"), **args)
    assert list(each) == [f"{name}.{label}" for label in "abcde"]
    np.testing.assert_allclose(list(each.values()), expected, rtol=0, atol=1e-15)


def test_iou_of_labels_leaves_out_those_without_any_yes():
    there = [0, 1, 2, 4]
    for average in ("macro", "micro", "weighted"):
        expected = sklearn.jaccard_score(TARGETS[:, there], GUESSED[:, there], average=average)
        assert labels("iou", [7], threshold=0.5, average=average) == {"iou": pytest.approx(expected, abs=1e-15)}


@pytest.mark.parametrize("name", ["auc", "average_precision"])
def test_ranking_of_labels(name):
    """A label without positives has no figure, and is left out of means."""
    there = [0, 1, 2, 4]
    for average in ("macro", "weighted", None):
        expected = OF_SKLEARN[name](TARGETS[:, there], SCORES[:, there], average=average or "macro")
        assert labels(name, average=average) == {name: pytest.approx(expected, abs=1e-14)}
    expected = OF_SKLEARN[name](TARGETS, SCORES, average="micro")
    assert labels(name, [7], average="micro") == {name: pytest.approx(expected, abs=1e-14)}
    each = list(labels(name, [7], average="none").values())
    np.testing.assert_allclose(np.array(each)[there], OF_SKLEARN[name](TARGETS[:, there], SCORES[:, there], average=None))
    assert np.isnan(each[3])
    positions = figure(Spec(name, multilabel=False), SCORES, TARGETS.astype("float32"), [7])
    assert positions == pytest.approx(expected, abs=1e-14)


def test_averages_of_the_ranking_of_classes():
    logits, classes = rng.normal(size=(41, 4)).astype("float32"), rng.integers(0, 4, 41)
    chances = np.exp(logits.astype("float64")) / np.exp(logits.astype("float64")).sum(axis=1, keepdims=True)
    for average in ("macro", "micro", "weighted"):
        expected = sklearn.roc_auc_score(classes, chances, multi_class="ovr", average=average)
        assert figure(Spec("auc", average=average), logits, classes, [7]) == pytest.approx(expected, abs=1e-14)
    expected = sklearn.roc_auc_score(classes, chances, multi_class="ovr", average=None)
    each = figures(Spec("auc", average="none", classes=list("abcd")), logits, classes, [7])
    assert each == {f"auc.{name}": pytest.approx(value, abs=1e-14) for name, value in zip("abcd", expected, strict=True)}
    with pytest.raises(ConfigError, match="there is one score to rank, and nothing to average: leave it out"):
        figures(Spec("auc", average="macro"), logits[:, :2], classes % 2, [7])


def test_accuracy_and_confusion_matrix_of_labels():
    assert labels("accuracy", threshold=0.5) == {
        "accuracy": pytest.approx(sklearn.accuracy_score(TARGETS, GUESSED), abs=1e-7)  # a mean of float32 values of 0 and 1
    }
    matrices = sklearn.multilabel_confusion_matrix(TARGETS, GUESSED).tolist()
    assert labels("confusion_matrix", threshold=0.5) == {"confusion_matrix": matrices}
    with pytest.raises(ConfigError, match="the labels of a sample have no top 5: use accuracy"):
        labels("top5")


def test_unknown_answers_do_not_count():
    """-1 marks labels that nobody gave. A sample without any label has no part in the accuracy."""
    targets = np.where(rng.random(TARGETS.shape) < 0.4, -1, TARGETS)
    targets[5] = -1
    known = targets >= 0
    each = [sklearn.f1_score(TARGETS[known[:, k], k], GUESSED[known[:, k], k], zero_division=0) for k in range(5)]
    args = {"multilabel": True, "threshold": 0.5, "ignore_index": -1}
    assert figure(Spec("f1", **args), SCORES, targets) == pytest.approx(np.mean(each), abs=1e-15)
    right = ((GUESSED == TARGETS) | ~known).all(axis=1)[known.any(axis=1)]
    assert figure(Spec("accuracy", **args), SCORES, targets) == pytest.approx(right.mean(), abs=1e-15)
    with pytest.raises(ConfigError, match=f"^f1: {(~known).sum()} targets are no class from 0 to 1$"):
        figure(Spec("f1", multilabel=True), SCORES, targets, [7])


def test_masks_of_several_labels():
    """[N, K, H, W] with the labels at axis 1: each has a mask of its own."""
    predictions = rng.normal(size=(6, 3, 4, 5)).astype("float32")
    targets = (predictions + rng.normal(size=predictions.shape) > 0.4).astype("float32")
    flat = [np.moveaxis(values, 1, -1).reshape(-1, 3) for values in (targets, predictions > 0)]
    found = figure(Spec("iou", multilabel=True, axis=1), predictions, targets)
    assert found == pytest.approx(sklearn.jaccard_score(*flat, average="macro"), abs=1e-15)
    together = figure(Spec("f1", threshold=0.0), predictions, targets, [7])  # no labels without `multilabel`
    assert together == pytest.approx(sklearn.f1_score(flat[0].ravel(), flat[1].ravel()), abs=1e-15)


@pytest.mark.parametrize("name", ["accuracy", "f1", "iou", "confusion_matrix"])
def test_labels_and_positions_are_told_apart(name):
    said = "float32 .N, 5. and targets int64 .N, 5. could be 5 labels of a sample or 5 positions: give `multilabel: true`"
    with pytest.raises(ConfigError, match=f"{name}: predictions {said} for labels, `multilabel: false` for positions"):
        figure(Spec(name, threshold=0.5), SCORES, TARGETS, [7])
    as_positions = figure(Spec(name, threshold=0.5, multilabel=False), SCORES, TARGETS, [7])
    assert str(as_positions) == str(figure(Spec(name, threshold=0.5), SCORES[:, :, None, None], TARGETS[:, :, None], [7]))


def test_what_multilabel_can_not_mean():
    with pytest.raises(ConfigError, match=r"args.multilabel: expected true, false or null, got 'yes'"):
        figure(Spec("f1", multilabel="yes"), SCORES, TARGETS, [7])
    with pytest.raises(ConfigError, match="binary is the score of class 1 of two, and not of several labels"):
        labels("f1", average="binary")
    with pytest.raises(ConfigError, match="2 names for 5 labels"):
        labels("f1", average="none", classes=["a", "b"])
    for name in ("f1", "auc"):
        with pytest.raises(ConfigError, match=f"{name} with multilabel: true expects targets of the predictions' shape"):
            figure(Spec(name, multilabel=True), SCORES, TARGETS[:, 0], [7])
