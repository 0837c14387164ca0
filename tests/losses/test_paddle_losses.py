"""The loss classes of paddle.nn by name: their mean is Paddle's, and exact for any batch size."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.exact import log_sigmoid, named
from support.graph import computed

from ppema.errors import ConfigError
from ppema.losses import Weighted, build_loss, mean
from ppema.losses.paddle_losses import LAYERS

rng = np.random.default_rng(0)
NUMBERS = rng.normal(size=(6, 4)).astype("float32")
SHARES = rng.dirichlet(np.ones(4), 6).astype("float32")
OTHERS = rng.dirichlet(np.ones(4), 6).astype("float32")
YES = rng.integers(0, 2, (6, 4))
SIGNS = 2 * YES - 1
LABELS = rng.integers(0, 4, 6)
WEIGHTS = [1, 2, 0.5, 3]

CASES = [
    ("BCELoss", {}, SHARES, YES),
    ("BCELoss", {"weight": WEIGHTS}, SHARES, YES),
    ("BCEWithLogitsLoss", {}, NUMBERS, YES),
    ("BCEWithLogitsLoss", {"weight": WEIGHTS}, NUMBERS, YES),
    ("CrossEntropyLoss", {}, NUMBERS, LABELS),
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, NUMBERS, LABELS),
    ("CrossEntropyLoss", {"weight": WEIGHTS}, NUMBERS, LABELS),
    ("CrossEntropyLoss", {"weight": WEIGHTS, "label_smoothing": 0.1}, NUMBERS, LABELS),
    ("CrossEntropyLoss", {"weight": WEIGHTS, "ignore_index": 2}, NUMBERS, LABELS),
    ("CrossEntropyLoss", {"ignore_index": 2}, NUMBERS, LABELS[:, None]),
    ("CrossEntropyLoss", {"soft_label": True, "weight": WEIGHTS}, NUMBERS, SHARES),
    ("HingeEmbeddingLoss", {}, NUMBERS, SIGNS),
    ("HuberLoss", {"delta": 0.5}, NUMBERS, SHARES),
    ("KLDivLoss", {}, np.log(SHARES), OTHERS),
    ("L1Loss", {}, NUMBERS, SHARES),
    ("MSELoss", {}, NUMBERS, SHARES),
    ("MultiLabelSoftMarginLoss", {}, NUMBERS, YES),
    ("MultiLabelSoftMarginLoss", {"weight": WEIGHTS}, NUMBERS, YES),
    ("MultiMarginLoss", {"p": 2}, NUMBERS, LABELS),
    ("NLLLoss", {}, np.log(SHARES), LABELS),
    ("NLLLoss", {"weight": WEIGHTS, "ignore_index": 1}, np.log(SHARES), LABELS),
    ("PoissonNLLLoss", {}, NUMBERS, YES),
    ("SmoothL1Loss", {"delta": 0.5}, NUMBERS, SHARES),
    ("SoftMarginLoss", {}, NUMBERS, SIGNS),
]


@pytest.mark.parametrize(("name", "args", "predictions", "targets"), CASES)
def test_the_mean_is_that_of_paddle_and_every_sample_counts_for_itself(name, args, predictions, targets):
    if name not in LAYERS:
        pytest.skip(f"this Paddle has no {name}")

    def both(p, t):
        values = build_loss(named(name, **args))(p, t)
        assert isinstance(values, Weighted) or values.shape[0] == -1, "a scalar"
        totals = values.counted if isinstance(values, Weighted) else values
        weights = values.weights if isinstance(values, Weighted) else paddle.ones_like(values)
        return mean(values), build_loss(named(f"paddle.nn.{name}", **args, reduction="mean"))(p, t), totals, weights

    found, theirs, totals, weights = computed(both, predictions, targets)
    assert found == pytest.approx(theirs, rel=1e-6)
    assert totals.sum() / weights.sum() == pytest.approx(found, rel=1e-6)
    alone = [computed(both, predictions[i : i + 1], targets[i : i + 1])[2:] for i in range(2)]
    np.testing.assert_allclose(
        [each[0] for each in alone], totals[:2, None] if totals.ndim == 1 else totals[:2][:, None], rtol=1e-6
    )


def test_positives_have_their_weight_on_both_paddles():
    """Paddle 2.6 ignores `pos_weight` in a static program."""
    z, w = NUMBERS.astype("float64"), np.array(WEIGHTS)
    expected = w * -(w * YES * log_sigmoid(z) + (1 - YES) * log_sigmoid(-z))
    found = computed(build_loss(named("BCEWithLogitsLoss", weight=WEIGHTS, pos_weight=WEIGHTS)), NUMBERS, YES)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_column_of_predictions_is_not_broadcast():
    """paddle.nn.MSELoss alone would compare each prediction with each target."""
    found = computed(build_loss(named("MSELoss")), np.array([[1.0], [2.0]], "float32"), np.array([3.0, 2.0], "float32"))
    assert found.tolist() == [4, 0]


@pytest.mark.parametrize(
    ("name", "args", "line"),
    [
        (
            "TripletMarginLoss",
            {},
            "name: TripletMarginLoss compares 3 variables, input, positive, negative, not predictions and targets: name a "
            "function of your own that calls it",
        ),
        (
            "HSigmoidLoss",
            {"feature_size": 4, "num_classes": 5},
            "name: HSigmoidLoss can not be used: it has weights of its own, which belong in the model",
        ),
        ("MultiMarginLoss", {"weight": WEIGHTS}, "args.weight: Paddle 2.6 computes wrong values with it: remove it"),
        ("MSELoss", {"reductoin": "sum"}, "args.reductoin: unknown argument of MSELoss; did you mean 'reduction'?"),
        ("BCEWithLogitLoss", {}, "name: unknown loss 'BCEWithLogitLoss'; did you mean 'BCEWithLogitsLoss'?"),
        ("cross_entrpy", {}, "name: unknown loss 'cross_entrpy'; did you mean 'cross_entropy'?"),
    ],
)
def test_losses_that_can_not_be_built(name, args, line):
    with pytest.raises(ConfigError) as caught:
        build_loss(named(name, **args))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("name", "args", "targets", "line"),
    [
        (
            "MSELoss",
            {},
            SHARES[:, 0],
            "MSELoss expects targets of the predictions' shape; the model gives float32 [N, 4] and the "
            "data's targets are float32 [N]",
        ),
        (
            "BCELoss",
            {"weight": "high"},
            YES,
            "args.weight: expected a list of 1 numbers >= 0, one for each output, got ['high']",
        ),
        (
            "CrossEntropyLoss",
            {"weight": [1, 2]},
            LABELS,
            "args.weight: expected a list of 4 numbers >= 0, one for each class, got [1, 2]",
        ),
        (
            "BCEWithLogitsLoss",
            {"pos_weight": 2, "reduction": "mean"},
            YES,
            "args.reduction: remove it: beside pos_weight, ppema reduces the values",
        ),
    ],
)
def test_arguments_and_targets_that_do_not_fit(name, args, targets, line):
    with pytest.raises(ConfigError) as caught:
        computed(build_loss(named(name, **args)), NUMBERS, targets)
    assert str(caught.value) == line


def test_a_function_by_its_path_may_return_the_mean():
    found = computed(build_loss(named("paddle.nn.functional.cross_entropy")), NUMBERS, LABELS)
    assert found == pytest.approx(computed(build_loss(named("cross_entropy")), NUMBERS, LABELS).mean(), rel=1e-6)
