"""Probabilities and labels of outputs, against float64."""

from __future__ import annotations

import numpy as np
import pytest

from ppema.losses import Scores
from ppema.prediction.predicted import OutputForm, PredictedBatch, probabilities

VALUES = np.random.default_rng(0).normal(scale=30, size=(5, 4, 3)).astype("float32")
WIDE = VALUES.astype(np.float64)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (Scores("softmax", -2), np.exp(WIDE) / np.exp(WIDE).sum(axis=1, keepdims=True)),
        (Scores("softmax", -1), np.exp(WIDE) / np.exp(WIDE).sum(axis=2, keepdims=True)),
        (Scores("sigmoid", None), 1 / (1 + np.exp(-WIDE))),
        (Scores("exp", -1), np.exp(WIDE)),
        (Scores("none", -1), WIDE),
    ],
)
def test_probabilities_are_those_of_float64(scores, expected):
    with np.errstate(all="raise", under="ignore", over="ignore" if scores.by == "exp" else "raise"):
        found = probabilities(VALUES, scores)
    np.testing.assert_allclose(found[expected < 1e38], expected[expected < 1e38], rtol=2e-6, atol=1e-37)
    assert found.dtype == np.float32


def test_scores_beyond_the_range_of_exp_have_probabilities():
    huge = np.array([[1e38, -1e38], [-3e38, 3e38]], np.float32)
    with np.errstate(over="ignore"):  # the difference may be infinite
        assert probabilities(huge, Scores("softmax", -1)).tolist() == [[1, 0], [0, 1]]
    assert probabilities(huge, Scores("sigmoid", None)).tolist() == [[1, 0], [0, 1]]


def test_a_sample_has_its_class_and_the_arrays_of_each_output():
    forms = [
        OutputForm("kind", Scores("softmax", -1), ("cat", "dog", "bird")),
        OutputForm("mask", Scores("softmax", -3)),
        OutputForm("size"),
    ]
    outputs = {"kind": np.eye(3, dtype="float32")[[2, 0]], "mask": VALUES[:2, :, :, None], "size": np.zeros((2, 1))}
    first, second = PredictedBatch(("a", "b"), outputs, forms).samples()
    assert (first.name, first.label, first.class_name, second.class_name) == ("a", 2, "bird", "cat")
    assert first.probability == pytest.approx(np.e / (np.e + 2))
    np.testing.assert_array_equal(first.labels["mask"], VALUES[0, :, :, None].argmax(axis=0))
    assert set(first.probabilities) == {"kind", "mask"} and first.outputs["size"].shape == (1,)
    two = PredictedBatch(
        ("a",), {"a": outputs["kind"][:1], "b": outputs["kind"][:1]}, [OutputForm(name, Scores("softmax", -1)) for name in "ab"]
    )
    assert (two.samples()[0].label, two.samples()[0].class_name, two.samples()[0].probability) == (None, None, None)
