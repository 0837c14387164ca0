"""Figures that sets do not define, targets that are no class, and the perplexity."""

from __future__ import annotations

import numpy as np
import pytest
from support.measured import Spec, figure, figures

from ppema.errors import ConfigError

rng = np.random.default_rng(0)
LOGITS = rng.normal(size=(7, 3)).astype("float32")


def test_one_class_alone_has_no_auc():
    scores = LOGITS[:, 0]
    for label, precision in ((0, np.nan), (1, 1.0)):
        labels = np.full(7, label)
        assert np.isnan(figure(Spec("auc"), scores, labels))
        assert str(figure(Spec("average_precision"), scores, labels, [7])) == str(precision)
    assert np.isnan(figure(Spec("auc"), LOGITS, np.zeros(7, "int64"), [7]))
    assert figure(Spec("auc"), np.zeros(7, "float32"), np.arange(7) % 2, [7]) == 0.5  # ties only


def test_a_score_that_is_no_number_has_no_auc():
    scores = LOGITS[:, 0].copy()
    scores[3] = np.nan
    assert np.isnan(figure(Spec("auc"), scores, np.arange(7) % 2, [7]))


def test_a_set_without_a_target_that_counts():
    ignored = np.full(7, 9)
    for name in ("f1", "iou", "accuracy"):
        assert np.isnan(figure(Spec(name, ignore_index=9, axis=-1), LOGITS, ignored, [7]))
    assert np.isnan(figure(Spec("perplexity", ignore_index=9), LOGITS, ignored, [7]))
    assert np.isnan(figure(Spec("r2"), LOGITS[:1, 0], LOGITS[:1, 1], [1]))


def test_an_ignored_class_has_no_figure_and_no_part_in_averages():
    """Two positions of class 0 are hits, one of class 1 is predicted as the ignored class 2."""
    predictions = np.eye(3, dtype="float32")[[0, 0, 2, 1]]
    targets = np.array([0, 0, 1, 2])
    assert figures(Spec("iou", axis=1, average="none", ignore_index=2), predictions, targets, [4]) == {"iou.0": 1, "iou.1": 0}
    assert figure(Spec("iou", axis=1, ignore_index=2), predictions, targets, [4]) == 0.5


@pytest.mark.parametrize("name", ["f1", "confusion_matrix", "auc"])
def test_targets_that_are_no_class_are_one_line(name):
    targets = np.array([0, 1, 2, 0, 3, -1, 1])
    with pytest.raises(ConfigError, match=f"^{name}: 2 targets are no class from 0 to 2$"):
        figure(Spec(name), LOGITS, targets, [7])
    with pytest.raises(ConfigError, match=f"^{name}: 1 targets are no class from 0 to 1$"):
        figure(Spec(name), LOGITS[:, 0], np.array([0, 1, 0.5, 0, 1, 1, 0], "float32"), [7])


def test_outputs_of_yes_or_no_need_a_threshold_where_targets_could_be_probabilities():
    predictions = np.stack([LOGITS, -LOGITS], axis=-1)
    targets = (predictions > 0.3).astype("float32")
    with pytest.raises(ConfigError, match="f1 expects int64 class labels .* or a threshold for outputs of yes or no"):
        figure(Spec("f1"), predictions, targets, [7])
    assert figure(Spec("f1", threshold=0.3), predictions, targets, [7]) == 1.0
    assert figure(Spec("f1", threshold=0.3), predictions, targets.astype("int64"), [7]) == 1.0


def test_perplexity_of_padded_sequences():
    """exp of the mean over all tokens of the set, not of the means of samples or batches; against float64."""
    logits, targets = rng.normal(size=(9, 4, 6)).astype("float32") * 3, rng.integers(0, 6, (9, 4))
    targets[np.arange(4) >= rng.integers(0, 5, 9)[:, None]] = -100
    exact = logits.astype("float64")
    surprise = np.log(np.exp(exact).sum(axis=-1)) - np.take_along_axis(exact, np.maximum(targets, 0)[..., None], -1)[..., 0]
    expected = np.exp(surprise[targets >= 0].mean())
    assert figure(Spec("perplexity", ignore_index=-100), logits, targets) == pytest.approx(expected, rel=1e-6)
    flat, tokens = logits.reshape(-1, 6), targets.reshape(-1)
    assert figure(Spec("perplexity", ignore_index=-100), flat, tokens, [7]) == pytest.approx(expected, rel=1e-6)
    whole = np.maximum(tokens, 0)
    every = np.exp(surprise.mean())  # token 0 stands for -100 in `surprise`
    assert figure(Spec("perplexity"), flat, whole, [7]) == pytest.approx(every, rel=1e-6)
    with pytest.raises(ConfigError, match=f"^perplexity: {(tokens < 0).sum()} targets are no tokens of the vocabulary$"):
        figure(Spec("perplexity"), flat, tokens, [7])
    targets[0, 0] = 6
    said = "perplexity: 1 targets are no tokens of the vocabulary nor ignore_index, -100"
    with pytest.raises(ConfigError, match=f"^{said}$"):
        figure(Spec("perplexity", ignore_index=-100), logits, targets, [7])
