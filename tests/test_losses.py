"""Losses against float64 numpy, and their refusals."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ppema.errors import ConfigError
from ppema.losses import build_loss, per_sample

rng = np.random.default_rng(0)
LOGITS = rng.normal(size=(7, 5)).astype("float32") * 3
LABELS = rng.integers(0, 5, 7)
SOFT = rng.dirichlet(np.ones(5), 7).astype("float32")


def spec(name, **args):
    return SimpleNamespace(name=name, args=args)


def run(function, *arrays):
    """`function` of the arrays, in a program with unknown batch size."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        feeds = [paddle.static.data(f"x{i}", [-1, *a.shape[1:]], str(a.dtype)) for i, a in enumerate(arrays)]
        out = function(*feeds)
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(paddle.static.Scope()):
        executor.run(startup)
        return executor.run(main, feed={f"x{i}": a for i, a in enumerate(arrays)}, fetch_list=[out])[0]


def log_softmax(x):
    x = x.astype("float64")
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def smoothed(q, epsilon):
    return q * (1 - epsilon) + epsilon / q.shape[-1]


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy(epsilon, soft):
    q = SOFT.astype("float64") if soft else np.eye(5)[LABELS]
    expected = -(smoothed(q, epsilon) * log_softmax(LOGITS)).sum(axis=-1)
    got = run(build_loss(spec("cross_entropy", label_smoothing=epsilon)), LOGITS, SOFT if soft else LABELS)
    assert got.shape == (7,)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_cross_entropy_of_sequences():
    logits, labels = rng.normal(size=(2, 3, 5)).astype("float32"), rng.integers(0, 5, (2, 3))
    expected = -np.take_along_axis(log_softmax(logits), labels[..., None], -1)[..., 0].mean(axis=1)
    got = run(lambda p, t: per_sample(build_loss(spec("cross_entropy"))(p, t)), logits, labels)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_mse_and_a_column_of_predictions():
    predictions, targets = np.array([[1.0], [2.0], [4.0]], "float32"), np.array([3.0, 2.0, 1.0], "float32")
    assert run(build_loss(spec("mse")), predictions, targets).tolist() == [4, 0, 9]


def test_a_dotted_loss_may_be_a_layer_or_a_function():
    expected = -log_softmax(LOGITS)[np.arange(7), LABELS]
    layer = build_loss(spec("paddle.nn.CrossEntropyLoss", reduction="none"))
    np.testing.assert_allclose(run(layer, LOGITS, LABELS).ravel(), expected, rtol=1e-5)
    function = build_loss(spec("paddle.nn.functional.cross_entropy"))
    np.testing.assert_allclose(run(function, LOGITS, LABELS), expected.mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "targets", "said"),
    [
        ("cross_entropy", np.zeros(7, "float32"), r"cross_entropy expects int64 class labels, or probabilities"),
        ("cross_entropy", np.zeros((7, 4), "float32"), r"the model gives float32 \[N, 5\] and the data's targets are"),
        ("cross_entropy", np.zeros((7, 2), "int64"), r"cross_entropy expects class labels of the predictions' shape"),
        ("mse", np.zeros(7, "float32"), r"mse expects float32 targets of the predictions' shape"),
        ("mse", np.zeros((7, 5), "int64"), r"targets are int64 \[N, 5\]"),
    ],
)
def test_shapes_that_do_not_fit_are_named_and_never_broadcast(name, targets, said):
    with pytest.raises(ConfigError, match=said):
        run(build_loss(spec(name)), LOGITS, targets)


ONE = np.zeros((7, 1), "float32")
ONE_CLASS = (
    r"needs two classes or more; the model gives float32 \[N, 1\] and the data's targets are (float32|int64) \[N.*\]: use mse"
)


@pytest.mark.parametrize("targets", [ONE, np.zeros(7, "int64")])
def test_a_single_class_is_refused(targets):
    """Every softmax would be 1, and every argmax 0: a regression would have perfect figures."""
    for smoothing in (0.0, 0.1):
        with pytest.raises(ConfigError, match=f"cross_entropy {ONE_CLASS}"):
            run(build_loss(spec("cross_entropy", label_smoothing=smoothing)), ONE, targets)


def test_label_smoothing_outside_its_range():
    with pytest.raises(ConfigError, match=r"args.label_smoothing: expected a number in \[0, 1\), got 1"):
        run(build_loss(spec("cross_entropy", label_smoothing=1)), LOGITS, LABELS)
