"""Parameters marked `trainable = False`, optimizers that wrap others, and the errors and warnings of `update`."""

from __future__ import annotations

import warnings

import numpy as np
import paddle
import pytest
from support.averages import check_average, recorded, weights
from support.configs import config
from support.device import device_place
from support.runs import steps

from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.errors import AverageError
from ppema.ir import backend, scope
from ppema.passes.clone import clone_for_test
from ppema.passes.trained import is_trained
from ppema.training.setup import prepare_training
from ppema.training.shown.describe import describe

VERSION_3 = paddle.__version__.startswith("3.")


def rows(run, title):
    (table,) = (table for table in describe(run) if table.title == title)
    return {row[0]: row for row in table.rows}


def test_what_a_model_marks_as_not_trainable_is_frozen():
    run = prepare_training(config("model=support.models.MarkedFrozen"))
    frozen = {"linear_0.w_0", "linear_0.b_0"}
    before = {name: scope.get(run.scope, name).tobytes() for name in frozen}
    for _ in steps(run, 3):
        pass
    assert {name: scope.get(run.scope, name).tobytes() for name in frozen} == before
    operations = list(backend().operations(run.programs.train))
    assert {name for op in operations for name in op.trains} == {"linear_1.w_0", "linear_1.b_0"}
    # The gradient of one of the two matrix products remains.
    assert sum("matmul" in op.kind and "grad" in op.kind for op in operations) == 1
    assert {name: row[4] for name, row in rows(run, "Variables").items()} == {
        "linear_0.w_0": "frozen",
        "linear_0.b_0": "frozen",
        "linear_1.w_0": "trained",
        "linear_1.b_0": "trained",
    }
    for average in run.programs.averages.values():
        assert average.shadow_of.keys() == {"linear_1.w_0", "linear_1.b_0"}
        assert rows(run, "Variables")["linear_0.w_0"][-1] == "no: frozen"


def two_layers(optimizer, mark=None):
    """A program of two linear layers. optimizer: function from a list of their parameters to the optimizer."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        first, second = paddle.nn.Linear(3, 4), paddle.nn.Linear(4, 1)
        if mark is not None:
            mark(first.weight)
        loss = second(first(paddle.static.data("x", [-1, 3], "float32"))).mean()
        optimizer([*first.parameters(), *second.parameters()]).minimize(loss)
        ema = ExponentialMovingAverage(0.9)
    return main, startup, ema


def mark(parameter):
    parameter.trainable = False


def stop(parameter):
    parameter.stop_gradient = True


def update(main, startup, ema, **kwargs):
    with paddle.static.program_guard(main, startup):
        ema.update(**kwargs)


def test_an_optimizer_that_trains_what_is_marked_is_noticed():
    """Paddle 2.6 trains a marked parameter if the optimizer is given a list that includes it."""
    main, startup, ema = two_layers(lambda given: paddle.optimizer.SGD(0.1, parameters=given), mark)
    with pytest.raises(AverageError) as error:
        update(main, startup, ema)
    assert str(error.value) == (
        "minimize trains linear_0.w_0 in spite of trainable = False, which Paddle does not heed here: set stop_gradient = True "
        "before minimize to freeze a parameter, or trainable = True where it is to be trained"
    )
    assert is_trained(main)


def test_a_mark_without_a_list_of_parameters_freezes_on_paddle_2_and_is_noticed_on_paddle_3():
    main, startup, ema = two_layers(lambda given: paddle.optimizer.Adam(0.1), mark)
    if VERSION_3:
        with pytest.raises(AverageError, match=r"minimize trains linear_0\.w_0 in spite of trainable = False"):
            update(main, startup, ema)
    else:
        update(main, startup, ema)
        with pytest.raises(AverageError, match="'linear_0.w_0' is not averaged"):
            ema.average("linear_0.w_0")


def test_what_has_been_trained_is_averaged_once_it_is_no_longer_marked():
    """Two networks trained in turns, as in a GAN: the mark is set for the minimize of the other network."""
    main, startup, ema = two_layers(lambda given: paddle.optimizer.SGD(0.1, parameters=given))
    (weight,) = (p.variable for p in backend().parameters(main) if p.name == "linear_0.w_0")
    weight.trainable = False
    with pytest.raises(AverageError, match="in spite of trainable"):
        update(main, startup, ema)
    weight.trainable = True
    update(main, startup, ema)
    assert ema.average_name("linear_0.w_0") == "linear_0.w_0.ema"


def test_what_is_stopped_is_frozen():
    main, startup, ema = two_layers(lambda given: paddle.optimizer.SGD(0.1, parameters=given), stop)
    update(main, startup, ema)
    with pytest.raises(AverageError, match="'linear_0.w_0' is not averaged"):
        ema.average("linear_0.w_0")


def look_ahead(given):
    return paddle.incubate.LookAhead(paddle.optimizer.SGD(0.1, parameters=given), alpha=0.5, k=2)


def test_look_ahead_is_averaged_after_its_own_step(built, here):
    with built.guard():
        paddle.incubate.LookAhead(paddle.optimizer.SGD(0.5), alpha=0.5, k=3).minimize(built.loss)
        ema = ExponentialMovingAverage(0.8)
        ema.update()
        parameters = {p.name: p for p in backend().parameters(built.main) if p.averaged}
        assert {name for name, p in parameters.items() if not p.trainable} == {"batch_norm2d_0.w_1", "batch_norm2d_0.w_2"}
        with pytest.raises(ValueError, match="clone_for_test comes before minimize"):
            clone_for_test(built.main)
    built.start()
    trajectory = []
    for _ in range(7):
        built.run(fetch=[built.loss])
        trajectory.append({name: scope.get(here, name).astype("float64") for name in parameters})
    factors = 0.2 * 0.8 ** np.arange(6, -1, -1)
    for name in parameters:
        expected = sum(f * values[name] for f, values in zip(factors, trajectory, strict=True)) / factors.sum()
        got = scope.get(here, ema.average_name(name))
        assert np.linalg.norm(got - expected) <= 1e-6 * np.linalg.norm(expected), name


def test_look_ahead_by_hand():
    """The loss is the weight, so each step gives w - 0.1. Every second step goes back halfway to the slow weight."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        weight = paddle.create_parameter([1], "float32", default_initializer=paddle.nn.initializer.Constant(1.0), name="weight")
        look_ahead(None).minimize(weight.sum())
        ema = ExponentialMovingAverage(0.5)
        ema.update()
    executor, seen = paddle.static.Executor(device_place()), []
    with paddle.static.scope_guard(paddle.static.Scope()):
        executor.run(startup)
        for _ in range(4):
            executor.run(main)
            seen.append(float(scope.get(paddle.static.global_scope(), "weight")[0]))
        shadow = float(scope.get(paddle.static.global_scope(), ema.average_name("weight"))[0])
    # The slow weight is 0.9 from step 1, (0.8 + 0.9)/2 from step 2, (0.65 + 0.85)/2 from step 4.
    assert seen == pytest.approx([0.9, 0.85, 0.75, 0.75], rel=1e-6)
    assert shadow == pytest.approx((0.9 * 1 + 0.85 * 2 + 0.75 * 4 + 0.75 * 8) / 15, rel=1e-6)


def test_model_average_alone_trains_nothing():
    made = two_layers(lambda given: paddle.incubate.ModelAverage(0.15, parameters=given, min_average_window=2))
    with pytest.raises(AverageError) as error:
        update(*made)
    assert str(error.value) == (
        "update() comes after minimize: no operation of the default main program trains a weight yet, so a run would average "
        "the former weights"
    )


def test_model_average_beside_an_optimizer_is_averaged(built, here):
    with built.guard():
        paddle.optimizer.SGD(0.5).minimize(built.loss)
        paddle.incubate.ModelAverage(0.15, min_average_window=2, max_average_window=4)
        ema = ExponentialMovingAverage(0.8)
        ema.update()
    built.start()
    trajectory = recorded(built, 6)
    check_average(built, ema, trajectory, lambda n, k, ops: 0.8)


@pytest.mark.skipif(VERSION_3, reason="GradientMergeOptimizer refuses the programs of Paddle 3")
def test_merged_gradients_need_to_know_which_runs_are_steps(built, here):
    with built.guard():
        paddle.incubate.optimizer.GradientMergeOptimizer(paddle.optimizer.SGD(0.1), k_steps=3).minimize(built.loss)
        condition = built.main.global_block().var("gradient_merge_cond")
        with pytest.warns(UserWarning, match=r"minimize trains inside a branch.*the variable 'gradient_merge_cond'") as warned:
            ExponentialMovingAverage(0.8, name="each").update()
        assert [each.filename for each in warned] == [__file__]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ema = ExponentialMovingAverage(0.8)
            ema.update(when=condition)
    built.start()
    trajectory = []
    for run in range(1, 13):
        built.run(fetch=[built.loss])
        if run % 3 == 0:
            trajectory.append({name: value.astype("float64") for name, value in weights(built).items()})
    check_average(built, ema, trajectory, lambda n, k, ops: 0.8)
