"""Cross-entropy against float64 numpy: labels and probabilities, class weights, ignored labels, classes on any axis."""

from __future__ import annotations

import numpy as np
import pytest
from support.exact import log_softmax, named
from support.graph import computed

from ppema.errors import ConfigError
from ppema.losses import build_loss, mean, per_sample

rng = np.random.default_rng(0)
LOGITS = rng.normal(size=(7, 5)).astype("float32") * 3
LABELS = rng.integers(0, 5, 7)
SOFT = rng.dirichlet(np.ones(5), 7).astype("float32")
WEIGHTS = [1, 0.5, 2, 0, 3]


def loss(**args):
    return build_loss(named("cross_entropy", **args))


def smoothed(q, epsilon):
    return q * (1 - epsilon) + epsilon / q.shape[-1]


def expected_mean(q, epsilon, w, counts):
    """Σ_n Σ_c w_c q'_nc (-log p_nc) / Σ_n Σ_c w_c q_nc, over the positions that count."""
    totals, weights = -(smoothed(q, epsilon) * log_softmax(LOGITS) * w).sum(axis=-1), (q * w).sum(axis=-1) * counts
    return totals[weights > 0].sum() / weights.sum()


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_values_of_labels_and_of_probabilities(epsilon, soft):
    q = SOFT.astype("float64") if soft else np.eye(5)[LABELS]
    expected = -(smoothed(q, epsilon) * log_softmax(LOGITS)).sum(axis=-1)
    got = computed(loss(label_smoothing=epsilon), LOGITS, SOFT if soft else LABELS)
    assert got.shape == (7,)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize(("soft", "ignored"), [(True, None), (False, None), (False, int(LABELS[0])), (False, -100)])
def test_the_mean_with_class_weights_and_ignored_labels(epsilon, soft, ignored):
    labels = np.where(np.arange(7) == 2, ignored, LABELS) if ignored == -100 else LABELS
    counts = labels != ignored
    q = SOFT.astype("float64") if soft else np.eye(5)[np.maximum(labels, 0)]
    args = {"label_smoothing": epsilon, "class_weights": WEIGHTS, "ignore_index": ignored}
    found, gradient = computed(lambda p, t: mean(loss(**args)(p, t)), LOGITS, SOFT if soft else labels, by=0)
    assert found == pytest.approx(expected_mean(q, epsilon, np.array(WEIGHTS), counts), rel=1e-5)
    assert not gradient[~counts].any() and gradient[counts].any()


def test_ignored_labels_alone_give_the_mean_over_the_others():
    labels = np.where(np.arange(7) < 3, 255, LABELS)
    values, weights = computed(loss(ignore_index=255), LOGITS, labels)
    assert weights.tolist() == [0, 0, 0, 1, 1, 1, 1]
    expected = -log_softmax(LOGITS)[np.arange(3, 7), LABELS[3:]]
    np.testing.assert_allclose(values[3:], expected, rtol=1e-5)
    assert computed(lambda p, t: mean(loss(ignore_index=255)(p, t)), LOGITS, labels) == pytest.approx(expected.mean(), rel=1e-5)


def test_a_batch_of_ignored_labels_has_the_loss_0_and_no_gradient():
    found, gradient = computed(lambda p, t: mean(loss(ignore_index=-1)(p, t)), LOGITS, np.full(7, -1), by=0)
    assert found == 0 and not gradient.any()


@pytest.mark.parametrize("soft", [False, True])
def test_classes_on_axis_1(soft):
    """[N, C, H, W], as convolutions give them, has the values of [N, H, W, C]."""
    logits = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    q = rng.dirichlet(np.ones(3), (2, 4, 5)).astype("float32") if soft else np.eye(3)[rng.integers(0, 3, (2, 4, 5))]
    targets = np.ascontiguousarray(np.moveaxis(q, -1, 1)) if soft else q.argmax(axis=-1)
    expected = -(q * log_softmax(np.moveaxis(logits, 1, -1))).sum(axis=-1)
    np.testing.assert_allclose(computed(loss(axis=1), logits, targets), expected, rtol=1e-5, atol=1e-6)


def test_sequences():
    logits, labels = rng.normal(size=(2, 3, 5)).astype("float32"), rng.integers(0, 5, (2, 3))
    expected = -np.take_along_axis(log_softmax(logits), labels[..., None], -1)[..., 0].mean(axis=1)
    np.testing.assert_allclose(computed(lambda p, t: per_sample(loss()(p, t)), logits, labels), expected, rtol=1e-5)


def test_padded_sequences_whose_length_differs_between_batches():
    logits, labels = rng.normal(size=(2, 3, 5)).astype("float32"), np.array([[1, 4, 0], [2, -100, -100]])
    nll = -np.take_along_axis(log_softmax(logits), np.maximum(labels, 0)[..., None], -1)[..., 0]
    for args in ({}, {"class_weights": [1, 1, 1, 1, 1]}, {"label_smoothing": 1e-9}):
        found = computed(
            lambda p, t, args=args: mean(per_sample(loss(ignore_index=-100, **args)(p, t))), logits, labels, unknown=2
        )
        assert found == pytest.approx(nll[labels >= 0].mean(), rel=1e-5)


def test_extreme_logits():
    """Gradients are (softmax - q)·weight / Σ weights. Paddle rounds probabilities below e⁻⁶⁴ up to it on a CPU."""
    logits, labels = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [-1e4, 0, 0]], "float32"), np.array([0, 1, 2])
    for args, w in (({}, np.ones(3)), ({"class_weights": [1, 2, 3]}, np.array([1, 2, 3]))):
        found, gradient = computed(lambda p, t, args=args: mean(loss(**args)(p, t)), logits, labels, by=0)
        p, share = np.exp(log_softmax(logits)), (w / w.sum())[:, None]
        np.testing.assert_allclose(gradient, (p - np.eye(3)[labels]) * share, atol=1e-6)
        nll = -np.maximum(log_softmax(logits)[np.arange(3), labels], -64)
        assert found == pytest.approx((nll * share[:, 0]).sum(), rel=1e-6)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (np.zeros(7, "float32"), r"cross_entropy expects int64 class labels, or probabilities of the predictions' shape; "),
        (np.zeros((7, 4), "float32"), r"the model gives float32 \[N, 5\] and the data's targets are float32 \[N, 4\]"),
        (np.zeros((7, 2), "int64"), r"cross_entropy expects class labels of the predictions' shape without its last; "),
    ],
)
def test_shapes_that_do_not_fit(targets, said):
    with pytest.raises(ConfigError, match=said):
        computed(loss(), LOGITS, targets)


@pytest.mark.parametrize(
    ("args", "targets", "line"),
    [
        ({"label_smoothing": 1}, LABELS, "args.label_smoothing: expected a number in [0, 1), got 1"),
        ({"label_smoothing": "a"}, LABELS, "args.label_smoothing: expected a number in [0, 1), got 'a'"),
        (
            {"class_weights": [1, 2]},
            LABELS,
            "args.class_weights: expected a list of 5 numbers >= 0, one for each class, got [1, 2]",
        ),
        ({"class_weights": 2}, LABELS, "args.class_weights: expected a list of 5 numbers >= 0, one for each class, got 2"),
        (
            {"class_weights": [0, 0, 0, 0, 0]},
            LABELS,
            "args.class_weights: expected numbers that float32 can hold, and one above 0, got [0, 0, 0, 0, 0]",
        ),
        ({"ignore_index": 1.5}, LABELS, "args.ignore_index: expected an integer, got 1.5"),
        ({"ignore_index": 1}, SOFT, "args.ignore_index: ignore_index requires int64 labels, the data's targets are float32"),
        ({"axis": 0}, LABELS, "args.axis: expected an axis from 1 to 1, or -1 for the last, got 0"),
    ],
)
def test_wrong_arguments(args, targets, line):
    with pytest.raises(ConfigError) as caught:
        computed(loss(**args), LOGITS, targets)
    assert str(caught.value) == line


@pytest.mark.parametrize("targets", [np.zeros((7, 1), "float32"), np.zeros(7, "int64")])
def test_a_single_class_is_refused(targets):
    """Every softmax would be 1: a regression would have perfect figures."""
    said = r"cross_entropy needs two classes or more; the model gives float32 \[N, 1\] and the data's targets are .*: use mse"
    for epsilon in (0.0, 0.1):
        with pytest.raises(ConfigError, match=said):
            computed(loss(label_smoothing=epsilon), np.zeros((7, 1), "float32"), targets)


def test_one_output_for_each_sample_is_refused():
    said = r"cross_entropy expects an output for each class, \[N, C\]; the model gives float32 \[N\] and the data"
    with pytest.raises(ConfigError, match=said):
        computed(loss(), LOGITS[:, 0], LABELS)
