"""The averages of the drop-in class, used as in a script for paddle.static.ExponentialMovingAverage."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest
from support.averages import averaged, averages, check_average, recorded, weights
from support.device import device_place

from ppema.averaging.decay import Constant, HalfLife, ThresSteps
from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.errors import AverageError
from ppema.ir import backend, scope
from ppema.passes.clone import clone_for_test

STATISTICS = ("batch_norm2d_0.w_1", "batch_norm2d_0.w_2")


def test_the_average_is_the_weighted_mean_of_weights_and_statistics(built, here):
    ema = averaged(built, 0.95)
    trajectory = recorded(built, 30)
    assert set(STATISTICS) <= set(averages(built, ema))
    check_average(built, ema, trajectory, Constant(0.95))


def test_thres_steps_as_a_number(built, here):
    ema = averaged(built, 0.999, thres_steps=np.int64(5))
    # (1 + 5)/(10 + 5) at every step.
    check_average(built, ema, recorded(built, 10), Constant(6 / 15))


def test_thres_steps_as_a_callable_of_the_updates(built, here):
    ema = averaged(built, 0.6, thres_steps=lambda n: 2 * n + 1)
    check_average(built, ema, recorded(built, 25), ThresSteps(0.6, lambda n: 2 * n + 1))


@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_thres_steps_as_a_variable_read_at_every_run(built, here, dtype):
    with built.guard():
        counter = paddle.static.data("counter", [1], dtype)
    ema = averaged(built, 0.5, thres_steps=counter)
    trajectory, steps = [], [0, 3, 100, 1]
    for value in steps:
        built.run(fetch=[built.loss], feed={**built.feed(), "counter": np.array([value], dtype)})
        trajectory.append({name: each.astype("float64") for name, each in weights(built).items()})
    decays = [min(0.5, (1 + m) / (10 + m)) for m in steps]
    check_average(built, ema, trajectory, lambda n, k, ops: decays[int(n)])


def test_any_schedule_interval_and_start(built, here):
    ema = averaged(built, schedule=HalfLife(3.0), start=4, update_every=2)
    trajectory = recorded(built, 11)
    # The observations come after steps 6, 8 and 10; the decay over two steps is 2^(-2/3).
    check_average(built, ema, trajectory[5:11:2], lambda n, k, ops: 2 ** (-2 / 3))


def test_a_decay_chosen_for_another_batch_size(built, here):
    """For a batch four times as large the decay is decay^4."""
    ema = averaged(built, 0.9, scale=4)
    check_average(built, ema, recorded(built, 8), Constant(0.9**4))
    for scale in (0, math.inf, "2"):
        with pytest.raises(ValueError, match="scale: expected a number in .1e-6, 1e6., got "):
            ExponentialMovingAverage(0.9, scale=scale)
    with pytest.raises(ValueError, match="overwrite_every: expected update_every, 5, or more, got 2"):
        ExponentialMovingAverage(0.9, update_every=5, overwrite_every=2)
    with pytest.raises(ValueError, match="overwrite_mix: it requires overwrite_every"):
        ExponentialMovingAverage(0.9, overwrite_mix=0.5)


def test_a_refused_update_leaves_the_program_as_it_was(built, here):
    built.minimize()
    before = str(built.main)
    with built.guard(), pytest.raises(ValueError, match="the decay is 1 in float64"):
        ExponentialMovingAverage(schedule=HalfLife(1e18), name="ema").update()
    assert str(built.main) == before


def test_thres_steps_as_a_computed_variable(built, here):
    with built.guard():
        counter = paddle.static.data("counter", [1], "int64")
        doubled = counter * 2
    ema = averaged(built, 0.5, thres_steps=doubled)
    trajectory, seen = [], [0, 1, 7, 2]
    for value in seen:
        built.run(fetch=[built.loss], feed={**built.feed(), "counter": np.array([value])})
        trajectory.append({name: each.astype("float64") for name, each in weights(built).items()})
    decays = [min(0.5, (1 + 2 * m) / (10 + 2 * m)) for m in seen]
    check_average(built, ema, trajectory, lambda n, k, ops: decays[int(n)])


def test_thres_steps_as_a_callable_that_returns_a_number(built, here):
    ema = averaged(built, 0.999, thres_steps=lambda n: 5)
    check_average(built, ema, recorded(built, 10), Constant(6 / 15))
    with built.guard(), pytest.raises(ValueError, match="thres_steps: expected a number of steps, 0 or more, got -5.5"):
        ExponentialMovingAverage(0.9, thres_steps=lambda n: -5.5).update()


def test_two_programs_in_one_scope_may_call_their_averages_alike():
    """A generator and a discriminator, each built under a guard of its own, may use the same name."""
    where, executor = paddle.static.Scope(), paddle.static.Executor(device_place())
    made = []
    for name in ("g", "d"):
        main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
            theta = paddle.static.create_parameter([2], "float32", name=name)
            loss = (theta * theta).sum()
            paddle.optimizer.SGD(0.1).minimize(loss)
            ema = ExponentialMovingAverage(0.9, name="ema")
            ema.update()
        made.append((main, loss, ema))
        with paddle.static.scope_guard(where):
            executor.run(startup)
    with paddle.static.scope_guard(where):
        for (main, loss, ema), name, steps in zip(made, "gd", (5, 2), strict=True):
            values = []
            for _ in range(steps):
                executor.run(main, fetch_list=[loss])
                values.append(scope.get(where, name).astype("float64"))
            factors = 0.9 ** np.arange(steps)[::-1]
            expected = sum(f * v for f, v in zip(factors, values, strict=True)) / factors.sum()
            np.testing.assert_allclose(scope.get(where, ema.average_name(name)), expected, rtol=1e-6)


def test_what_has_no_name_is_not_averaged(built, here):
    ema = averaged(built, 0.9)
    for var in (built.logits, None, 5):
        with pytest.raises(AverageError, match="is not averaged by 'ema'; it averages"):
            ema.average(var)


def test_variables_to_restore_gives_a_program_without_averages_the_averaged_weights(built, here):
    """As in TensorFlow, files hold the averages under the shadows' names, and loading puts them into the variables."""
    with built.guard():
        test, (logits,) = clone_for_test(built.main, [built.logits])
    ema = averaged(built, 0.9, exclude=["linear_0.b_0"])
    built.steps(5)
    saved = {name: scope.get(built.scope, name) for name in backend().state_names(built.main)}
    feed = built.feed()
    with ema.apply(built.executor):
        (expected,) = built.run(test, [logits], feed)
    mapping = ema.variables_to_restore()
    assert {name: variable.name for name, variable in mapping.items()} == {
        name if name == "linear_0.b_0" else f"{name}.ema": name for name in weights(built)
    }
    plain = type(built)()
    plain.start()
    scope.put(plain.scope, {variable.name: saved[name] for name, variable in mapping.items()})
    test, (logits,) = clone_for_test(plain.main, [plain.logits])
    (got,) = plain.run(test, [logits], feed)
    assert got.tobytes() == expected.tobytes()


def test_what_the_class_may_leave_out(built, here):
    ema = averaged(built, 0.9, include=["linear|norm"], exclude=["b_0"], batch_norm="copy")
    covered = ["batch_norm2d_0.w_0", "linear_0.w_0"]
    assert [ema.average_name(name) for name in covered] == [f"{name}.ema" for name in covered]
    for name in set(weights(built)) - set(covered):
        with pytest.raises(AverageError, match="is not averaged"):
            ema.average_name(name)
    with pytest.raises(ValueError, match="batch_norm: expected one of average, copy, recalibrate, got 'no'"):
        ExponentialMovingAverage(0.9, batch_norm="no")


def test_a_compensated_average_and_what_precision_can_not_be(built, here):
    ema = averaged(built, 0.9, precision="compensated", update_every=2)
    trajectory = recorded(built, 10)
    check_average(built, ema, trajectory[1::2], Constant(0.9**2))
    rests = [scope.get(built.scope, ema.average_name(name) + ".rest") for name in weights(built)]
    assert any(rest.any() for rest in rests)
    with pytest.raises(ValueError, match="precision: expected 'float32' or 'compensated', got 'float16'"):
        ExponentialMovingAverage(0.9, precision="float16")


def test_several_averages_in_one_program(built, here):
    built.minimize()
    with built.guard():
        made = [ExponentialMovingAverage(0.5), ExponentialMovingAverage(0.9), ExponentialMovingAverage(0.99, name="slow")]
        for ema in made:
            ema.update()
    built.start()
    trajectory = recorded(built, 12)
    assert [ema.average_name("linear_0.w_0") for ema in made] == [f"linear_0.w_0.{n}" for n in ("ema", "ema_1", "slow")]
    for ema, decay in zip(made, (0.5, 0.9, 0.99), strict=True):
        check_average(built, ema, trajectory, Constant(decay))


def test_average_is_a_variable_that_can_be_fetched(built, here):
    ema = averaged(built, 0.9)
    built.steps(3)
    parameter = next(p.variable for p in backend().parameters(built.main) if p.name == "linear_0.w_0")
    (fetched,) = built.run(fetch=[ema.average(parameter)])
    assert fetched.dtype == np.float32
    np.testing.assert_array_equal(fetched, scope.get(built.scope, ema.average_name(parameter)))


@pytest.mark.parametrize("call", ["apply", "average"])
def test_before_update_every_use_says_so(built, here, call):
    ema = ExponentialMovingAverage(0.9, name="e")
    with pytest.raises(AverageError, match=rf"{call}\(\) of the average 'e': call update\(\)"):
        ema.apply(built.executor).__enter__() if call == "apply" else getattr(ema, call)("linear_0.w_0")


def test_misuse_is_refused_in_one_line(built, here):
    ema = averaged(built, 0.9)
    with pytest.raises(AverageError, match="called twice"), built.guard():
        ema.update()
    with pytest.raises(AverageError, match="it is not applied"):
        ema.restore(built.executor)
    with pytest.raises(AverageError, match="'nothing' is not averaged by 'ema'; it averages batch_norm2d_0.b_0, "):
        ema.average("nothing")
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        with pytest.raises(AverageError, match="has no parameters to average"):
            ExponentialMovingAverage(0.9).update()
    with pytest.raises(ValueError, match=r"decay: expected a number in \[0, 1\), got 1.5"):
        ExponentialMovingAverage(1.5)


def test_update_before_minimize_is_refused(built):
    with built.guard(), pytest.raises(AverageError, match="update\\(\\) comes after minimize"):
        ExponentialMovingAverage(0.9).update()


def test_do_model_average_false_opts_out():
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        x = paddle.static.data("x", [-1, 3], "float32")
        out = paddle.nn.Linear(3, 2, weight_attr=paddle.ParamAttr(do_model_average=False))(x)
        paddle.optimizer.SGD(0.1).minimize(out.mean())
        ema = ExponentialMovingAverage()
        ema.update()
    assert ema.average_name("linear_0.b_0") == "linear_0.b_0.ema"
    with pytest.raises(AverageError, match="'linear_0.w_0' is not averaged"):
        ema.average_name("linear_0.w_0")


def test_with_gradient_accumulation_an_update_counts_optimizer_steps(built, here):
    """Every third run is a step. The others do not count or change the average, though they change the statistics."""
    with built.guard():
        happens = paddle.static.data("happens", [1], "bool")
        paddle.optimizer.SGD(0.1).minimize(built.loss * paddle.cast(happens, "float32"))
        ema = ExponentialMovingAverage(0.6, thres_steps=lambda n: n, update_every=2)
        ema.update(when=happens)
    built.start()
    trajectory = []
    for run in range(1, 25):
        built.run(fetch=[built.loss], feed={**built.feed(), "happens": np.array([run % 3 == 0])})
        if run % 6 == 0:
            trajectory.append({name: each.astype("float64") for name, each in weights(built).items()})
    check_average(built, ema, trajectory, lambda n, k, ops: min(0.6, (1 + 2 * n) / (10 + 2 * n)) ** 2)


def test_runs_without_an_optimizer_step_leave_the_average_as_it_is(built, here):
    built.minimize()
    with built.guard():
        happens = paddle.static.data("happens", [1], "bool")
        ema = ExponentialMovingAverage(0.9)
        ema.update(when=happens)
    built.start()
    built.run(fetch=[built.loss], feed={**built.feed(), "happens": np.array([True])})
    before = averages(built, ema)
    for _ in range(3):
        built.run(fetch=[built.loss], feed={**built.feed(), "happens": np.array([False])})
    assert all(averages(built, ema)[name].tobytes() == value.tobytes() for name, value in before.items())


def test_switch_ema_makes_the_weights_the_average(built, here):
    ema = averaged(built, 0.8, overwrite_every=4)
    for step in range(1, 10):
        built.steps(1)
        equal = all(averages(built, ema)[name].tobytes() == value.tobytes() for name, value in weights(built).items())
        # The first average equals the weights.
        assert equal == (step % 4 == 0 or step == 1)
