"""Test programs with parameters that the train program does not have."""

from __future__ import annotations

import paddle
import pytest
from support.averages import averaged, weights
from support.configs import config
from support.runs import steps

from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.ema.foreign import check_test_program
from ppema.errors import AverageError, ConfigError
from ppema.evaluation.evaluate import evaluate
from ppema.evaluation.prepared import prepare_evaluation
from ppema.ir import backend
from ppema.passes.clone import clone_for_test
from ppema.training.setup import prepare_training

VERSION_3 = paddle.__version__.startswith("3.")


def program(build):
    """A program on images like those of `built`, with names counted from 0."""
    main = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, paddle.static.Program()):
        build(paddle.static.data("images", [-1, 1, 6, 6], "float32"))
    return main


def model(images, features=48, classes=4, head="linear_0", norm=None):
    """The model of `built`. features: inputs of its last layer. head: prefix of the names of that layer's parameters."""
    h = paddle.nn.BatchNorm2D(3, **norm or {})(paddle.nn.Conv2D(1, 3, 3)(images))
    weight, bias = (paddle.ParamAttr(name=f"{head}.{end}") for end in ("w_0", "b_0"))
    h = paddle.nn.Flatten()(h)[:, :features]
    return paddle.nn.Linear(features, classes, weight_attr=weight, bias_attr=bias)(h)


def refusal(call) -> str:
    with pytest.raises(AverageError) as error:
        call()
    return str(error.value)


ADVICE = (
    "which the train program does not have and nothing trains: make it with ppema.clone_for_test, or give its layers the names "
    "that they have in training (on Paddle 3, paddle.static.nn counts on from program to program); weights that are not to be "
    "trained need stop_gradient = True"
)


def test_a_head_of_another_name_is_named(built, here):
    other = program(lambda images: model(images, head="other"))
    ema = averaged(built, 0.9)
    built.steps(2)
    before = {name: value.tobytes() for name, value in weights(built).items()}
    message = f"the test program reads other.b_0, other.w_0, {ADVICE}"
    assert refusal(lambda: ema.apply(built.executor, programs=[other]).__enter__()) == message
    assert {name: value.tobytes() for name, value in weights(built).items()} == before
    # The refusal has no effect: a program with the right names can be applied afterwards.
    with ema.apply(built.executor, programs=[program(model)]):
        assert {name: value.tobytes() for name, value in weights(built).items()} != before


def test_programs_of_the_constructor_are_checked_at_update_and_at_apply(built, here):
    built.minimize()
    other = program(lambda images: model(images, head="other"))
    with built.guard():
        assert "reads other.b_0, other.w_0" in refusal(ExponentialMovingAverage(0.9, programs=[other]).update)
        late = paddle.static.Program()
        ema = ExponentialMovingAverage(0.9, programs=[late])
        ema.update()
    with paddle.static.program_guard(late, paddle.static.Program()), paddle.utils.unique_name.guard():
        model(paddle.static.data("images", [-1, 1, 6, 6], "float32"), head="later")
    built.start()
    built.steps(1)
    assert "reads later.b_0, later.w_0" in refusal(lambda: ema.apply(built.executor).__enter__())


def test_recalibration_by_another_program_is_refused(built, here):
    other = program(lambda images: model(images, head="other"))
    ema = averaged(built, 0.9, batch_norm="recalibrate")
    built.steps(1)
    message = refusal(lambda: ema.recalibrate(built.executor, other, [{"images": built.feed()["images"]}]))
    assert message == f"the test program reads other.b_0, other.w_0, {ADVICE}"


def test_other_shapes_are_named(built, here):
    ema = averaged(built, 0.9)
    built.steps(1)
    other = program(lambda images: model(images, features=30))
    assert refusal(lambda: ema.apply(built.executor, programs=[other]).__enter__()) == (
        "the test program has 'linear_0.w_0' as [30, 4] float32, the train program as [48, 4] float32: build both from the "
        "same model"
    )


def test_a_part_of_the_model_is_a_test_program(built):
    built.minimize()
    part = program(lambda images: paddle.nn.Conv2D(1, 3, 3)(images))
    check_test_program(part, backend().parameters(built.main))


def test_a_frozen_network_of_its_own_is_allowed(built):
    """A frozen network with BatchNorm besides the model, such as a teacher or a metric's network."""
    built.minimize()

    def both(images):
        model(images)
        teacher = paddle.nn.Sequential(paddle.nn.Conv2D(1, 3, 3), paddle.nn.BatchNorm2D(3), paddle.nn.BatchNorm2D(3))
        teacher(images)

    test, train = program(both), backend().parameters(built.main)
    with pytest.raises(
        AverageError, match=r"reads batch_norm2d_1\.b_0, batch_norm2d_1\.w_0, batch_norm2d_1\.w_1 and 7 more, which"
    ):
        check_test_program(test, train)
    for parameter in backend().parameters(test):
        if parameter.name not in {each.name for each in train}:
            parameter.variable.trainable = False
    check_test_program(test, train)


def test_statistics_of_another_name_are_named(built):
    """ParamAttr gives weight and bias the train program's names; the statistics have other names."""
    built.minimize()

    def build(images):
        h = paddle.nn.Conv2D(1, 3, 3)(images)
        paddle.nn.BatchNorm2D(3)
        weight, bias = (paddle.ParamAttr(name=f"batch_norm2d_0.{end}") for end in ("w_0", "b_0"))
        paddle.nn.BatchNorm2D(3, weight_attr=weight, bias_attr=bias)(h)

    with pytest.raises(AverageError, match=r"reads batch_norm2d_1\.w_\d, batch_norm2d_1\.w_\d, which"):
        check_test_program(program(build), backend().parameters(built.main))


def test_a_static_layer_in_a_second_program(built, here):
    """On Paddle 3 `unique_name.guard` does not count `fc` from 0. On 2.6 the two programs share their head."""

    def build(images):
        return paddle.static.nn.fc(images, 4)

    train = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(train, paddle.static.Program()):
        loss = build(paddle.static.data("images", [-1, 1, 6, 6], "float32")).mean()
        test, _ = clone_for_test(train)
        paddle.optimizer.SGD(0.1).minimize(loss)
    parameters = backend().parameters(train)
    check_test_program(test, parameters)
    if VERSION_3:
        with pytest.raises(AverageError, match=r"reads fc_\d+\.b_0, fc_\d+\.w_0, which"):
            check_test_program(program(build), parameters)
    else:
        check_test_program(program(build), parameters)


def test_a_config_with_a_static_layer_evaluates_the_head_that_it_trains():
    run = prepare_training(config("model=support.models.StaticHead"))
    names = {parameter.name for parameter in backend().parameters(run.programs.train)}
    assert names == {"fc_0.w_0", "fc_0.b_0"} == {parameter.name for parameter in run.programs.model.parameters}
    for _ in steps(run, 40):
        pass
    with paddle.static.scope_guard(run.scope):
        inputs, loader = run.programs.model.inputs, run.eval_loader
        found = {name: evaluate(run.executor, test, inputs, loader) for name, test in run.tests.items()}
    assert all(measures["accuracy"] > 0.7 for measures in found.values()), found
    # A program for evaluation only, built later in the process, has these names too.
    evaluated = prepare_evaluation(config("model=support.models.StaticHead"))
    assert {parameter.name for parameter in evaluated.model.parameters} == names


def test_names_go_on_where_they_were():
    with paddle.utils.unique_name.guard():
        first = paddle.utils.unique_name.generate("layer")
        with backend().fresh_names():
            assert paddle.utils.unique_name.generate("layer") == first
        assert paddle.utils.unique_name.generate("layer") == "layer_1"


def test_a_model_that_is_built_otherwise_each_time_is_named():
    with pytest.raises(ConfigError, match=r"the model differs in linear_0\.b_0, linear_0\.w_0: its constructor and"):
        prepare_training(config("model=support.models.Unstable"))
