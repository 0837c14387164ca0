"""Binary cross-entropy and focal losses against float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
from support.exact import log_sigmoid, log_softmax, named
from support.graph import computed

from ppema.errors import ConfigError
from ppema.losses import build_loss, mean

rng = np.random.default_rng(0)
LOGITS = rng.normal(size=(6, 4)).astype("float32") * 3
YES = rng.integers(0, 2, (6, 4))
SHARES = rng.uniform(size=(6, 4)).astype("float32")
LABELS = rng.integers(0, 4, 6)
EXTREME = np.array([0, -0.0, 1e4, -1e4, 1e4, -1e4], "float32")
EXTREME_YES = np.array([1, 0, 1, 0, 0, 1])


def loss(name, **args):
    return build_loss(named(name, **args))


def exact_focal(z, y, gamma, alpha):
    yes, no = log_sigmoid(z), log_sigmoid(-z)
    return -alpha * y * np.exp(gamma * no) * yes - (1 - alpha) * (1 - y) * np.exp(gamma * yes) * no


@pytest.mark.parametrize("y", [YES, SHARES])
@pytest.mark.parametrize("pos_weight", [None, 2.5, [1, 2, 3, 4]])
def test_binary_cross_entropy(y, pos_weight):
    z, w = LOGITS.astype("float64"), 1 if pos_weight is None else np.array(pos_weight)
    expected = -(w * y * log_sigmoid(z) + (1 - y) * log_sigmoid(-z))
    found = computed(loss("binary_cross_entropy", pos_weight=pos_weight), LOGITS, y)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_binary_cross_entropy_of_extreme_logits():
    """Values |z| on the wrong side. The gradient is sigmoid(z) - y, also at 0, where outputs of a last layer of zeros are."""
    found, gradient = computed(loss("binary_cross_entropy"), EXTREME, EXTREME_YES, by=0)
    np.testing.assert_allclose(found, [np.log(2), np.log(2), 0, 0, 1e4, 1e4], rtol=1e-6)
    np.testing.assert_allclose(gradient, [-0.5, 0.5, 0, 0, 1, -1], rtol=1e-6)


@pytest.mark.parametrize("shape", [(6, 4, 1), (6, 1, 4)])
def test_an_axis_of_one_output_fits_targets_without_it(shape):
    expected = computed(loss("binary_cross_entropy"), LOGITS, YES)
    assert computed(loss("binary_cross_entropy"), LOGITS.reshape(shape), YES).tolist() == expected.tolist()


def test_ignored_targets_have_the_weight_0():
    y = np.where(YES[:, :1] > 0, 255, YES)
    values, weights = computed(loss("binary_cross_entropy", ignore_index=255), LOGITS, y)
    assert weights.tolist() == (y != 255).tolist()
    counted = values[y != 255]
    np.testing.assert_allclose(counted, computed(loss("binary_cross_entropy"), LOGITS, YES)[y != 255], rtol=1e-6)
    found = computed(lambda p, t: mean(loss("binary_cross_entropy", ignore_index=255)(p, t)), LOGITS, y)
    assert found == pytest.approx(counted.mean(), rel=1e-6)


@pytest.mark.parametrize("y", [YES, SHARES])
@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_focal_of_two_classes(y, gamma):
    found = computed(loss("focal", gamma=gamma, alpha=0.25), LOGITS, y)
    np.testing.assert_allclose(found, exact_focal(LOGITS.astype("float64"), y, gamma, 0.25), rtol=1e-5, atol=1e-6)
    halves = computed(loss("focal", gamma=gamma), LOGITS, y)
    np.testing.assert_allclose(halves, 2 * exact_focal(LOGITS.astype("float64"), y, gamma, 0.5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_focal_of_several_classes(axis, gamma):
    logits, labels, alpha = rng.normal(size=(3, 5, 4)).astype("float32") * 3, rng.integers(0, 4, (3, 5)), [1, 2, 0.5, 3]
    log_p = np.take_along_axis(log_softmax(logits), labels[..., None], -1)[..., 0]
    expected = -np.array(alpha)[labels] * (1 - np.exp(log_p)) ** gamma * log_p
    given = np.ascontiguousarray(np.moveaxis(logits, -1, axis))
    found = computed(loss("focal", gamma=gamma, alpha=alpha, axis=axis), given, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_focal_of_extreme_logits(gamma):
    """For γ < 1 the power (1 - p)^γ has an infinite derivative at p = 1."""
    found, gradient = computed(loss("focal", gamma=gamma, alpha=0.25), EXTREME, EXTREME_YES, by=0)
    np.testing.assert_allclose(found, exact_focal(EXTREME.astype("float64"), EXTREME_YES, gamma, 0.25), rtol=1e-6)
    np.testing.assert_allclose(gradient[2:], [0, 0, 0.75, -0.25], atol=1e-7)
    logits = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [0, 0, 0]], "float32")
    found, gradient = computed(loss("focal", gamma=gamma), logits, np.array([0, 1, 2]), by=0)
    np.testing.assert_allclose(found, [0, 2e4, (2 / 3) ** gamma * np.log(3)], rtol=1e-6)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=2e-3)
    np.testing.assert_allclose(gradient[0], 0, atol=1e-30)


def test_focal_with_gamma_0_is_cross_entropy():
    expected = computed(loss("cross_entropy"), LOGITS, LABELS)
    np.testing.assert_allclose(computed(loss("focal", gamma=0), LOGITS, LABELS), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "args", "targets", "line"),
    [
        ("binary_cross_entropy", {"pos_weight": 0}, YES, "args.pos_weight: expected a number > 0, or a list of numbers, got 0"),
        (
            "binary_cross_entropy",
            {"pos_weight": [1, 2]},
            YES,
            "args.pos_weight: expected a list of 4 numbers >= 0, one for each output, got [1, 2]",
        ),
        (
            "binary_cross_entropy",
            {},
            LABELS,
            "binary_cross_entropy expects targets of the predictions' shape: int64 0 or 1, or float32 in [0, 1]; the model "
            "gives float32 [N, 4] and the data's targets are int64 [N]",
        ),
        ("focal", {"gamma": -1}, YES, "args.gamma: expected a finite number >= 0, got -1"),
        ("focal", {"alpha": 1}, YES, "args.alpha: expected a number in (0, 1) for two classes, got 1"),
        ("focal", {"alpha": 0.25}, LABELS, "args.alpha: expected a list of 4 numbers >= 0, one for each class, got 0.25"),
        ("focal", {"axis": 5}, LABELS, "args.axis: expected an axis from 1 to 1, or -1 for the last, got 5"),
    ],
)
def test_wrong_arguments(name, args, targets, line):
    with pytest.raises(ConfigError) as caught:
        computed(loss(name, **args), LOGITS, targets)
    assert str(caught.value) == line
