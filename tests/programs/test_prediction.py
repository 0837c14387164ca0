"""The program of prediction computes what evaluation's computes, and needs no target."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.configs import config
from support.device import device_place

from ppema.data import Field
from ppema.errors import ConfigError
from ppema.ir import backend, scope
from ppema.losses import Scores
from ppema.programs.eval_program import build_test_model
from ppema.programs.prediction import build_prediction

IMAGE, LABEL = Field((1, 8, 8), "float32", "input_0"), Field((), "int64", "target", is_target=True)
NORMALIZE = "data.normalize={input_0: {mean: [0.4], std: [0.25]}}"


def test_the_outputs_have_the_bits_of_evaluation_and_results_are_probabilities():
    """BatchNorm, dropout and `data.normalize` are as in evaluation, whose metric is computed from the same outputs."""
    loaded = config(NORMALIZE, "metrics=[support.metrics.first_output]")
    made, model = build_prediction(loaded, [IMAGE, LABEL]), build_test_model(loaded, [IMAGE, LABEL])
    assert made.inputs == (IMAGE,)
    assert made.scores == {"output": Scores("softmax", -1)}
    assert [each.name for each in made.parameters] == [each.name for each in model.parameters]
    assert made.structured == model.structured
    images = np.random.default_rng(0).random((5, 1, 8, 8), dtype="float32")
    executor, own = paddle.static.Executor(device_place()), paddle.static.Scope()
    with paddle.static.scope_guard(own):
        executor.run(made.startup)
        rng = np.random.default_rng(1)
        scope.put(own, {each.name: rng.random(each.shape, dtype="float32") / 10 + 0.05 for each in made.parameters})
        output, result = executor.run(made.program, {"input_0": images}, [made.outputs["output"], made.results["output"]])
        measured = executor.run(
            model.test.program,
            {"input_0": images, "target": np.zeros(5, "int64")},
            model.test.measures["first_output"].variables,
        )
    np.testing.assert_array_equal(output[:, 0], measured[0])
    exact = np.exp(output.astype("float64"))
    np.testing.assert_allclose(result, exact / exact.sum(axis=1, keepdims=True), rtol=1e-5)


def test_a_copy_on_onednn_has_the_same_outputs():
    if hindrance := backend().onednn_hindrance():
        pytest.skip(hindrance)
    made = build_prediction(config(), [IMAGE, LABEL])
    fast = made.on_onednn()
    images = np.random.default_rng(0).random((5, 1, 8, 8), dtype="float32")
    executor = paddle.static.Executor(device_place())
    with paddle.static.scope_guard(paddle.static.Scope()):
        executor.run(made.startup)
        found = [
            executor.run(each.program, {"input_0": images}, [*each.outputs.values(), *each.results.values()])
            for each in (made, fast)
        ]
    for plain, placed in zip(*found, strict=True):
        np.testing.assert_allclose(placed, plain, rtol=0, atol=1e-5)


def test_a_model_that_draws_in_eval_mode_is_refused():
    with pytest.raises(ConfigError, match="in eval mode the model still draws random numbers"):
        build_prediction(config("model={name: support.models.AlwaysRandom}"), [IMAGE, LABEL])
