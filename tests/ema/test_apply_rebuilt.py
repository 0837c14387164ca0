"""apply and restore if the scope or the program changes meanwhile: rebuilt, started again, erased, replaced."""

from __future__ import annotations

import paddle
import pytest
from support.averages import averaged, averages, same, weights
from support.device import device_place

from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.errors import AverageError
from ppema.ir import backend, scope


def test_leaving_in_another_scope_restores_the_one_that_was_applied(built, here):
    ema = averaged(built, 0.9)
    built.steps(2)
    raw = weights(built)
    with ema.apply(built.executor, need_restore=False):
        pass
    with paddle.static.scope_guard(paddle.static.Scope()):
        ema.restore(built.executor)
    assert same(weights(built), raw)


def test_a_scope_without_the_variables_is_named(built):
    ema = averaged(built, 0.9)
    built.steps(1)
    with paddle.static.scope_guard(paddle.static.Scope()):
        with pytest.raises(AverageError, match="the current scope lacks 'batch_norm2d_0.b_0'"), ema.apply(built.executor):
            pass


def test_a_program_rebuilt_meanwhile_with_other_shapes_is_refused_and_nothing_is_touched(built, here):
    """A notebook cell that runs again builds new programs, whose variables take over the old names in the scope."""
    ema = averaged(built, 0.9, name="ema")
    built.steps(3)
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        images = paddle.static.data("images", [-1, 1, 6, 6], "float32")
        layers = [paddle.nn.Conv2D(1, 5, 3), paddle.nn.BatchNorm2D(5), paddle.nn.Flatten(), paddle.nn.Linear(80, 4)]
        loss = paddle.nn.Sequential(*layers)(images).mean()
        paddle.optimizer.SGD(0.1).minimize(loss)
    built.executor.run(startup)
    before = {name: scope.get(built.scope, name).tobytes() for name in backend().state_names(main)}
    for need_restore in (True, False):
        with pytest.raises(AverageError, match=r"does not fit the current scope: batch_norm2d_0.b_0 is float32 \[5\], "):
            with ema.apply(built.executor, need_restore=need_restore):
                pass
    assert {name: scope.get(built.scope, name).tobytes() for name in before} == before


@pytest.mark.parametrize("need_restore", [True, False])
def test_the_startup_program_runs_again_as_in_a_loop_over_folds(built, here, need_restore):
    """On Paddle 3 a new executor makes new variables of the same names and frees the former ones."""
    ema = averaged(built, 0.9)
    for _ in range(4):
        built.executor = paddle.static.Executor(device_place())
        built.start()
        built.steps(3)
        raw, mean = weights(built), averages(built, ema)
        with ema.apply(built.executor, need_restore=need_restore):
            assert same(weights(built), mean)
        if not need_restore:
            ema.restore(built.executor)
        assert same(weights(built), raw) and same(averages(built, ema), mean)


def test_the_startup_program_inside_with_is_noticed(built, here):
    ema = averaged(built, 0.9)
    built.steps(2)
    raw = weights(built)
    built.executor = paddle.static.Executor(device_place())
    with pytest.raises(AverageError, match="the train program, or its startup program, ran while"):
        with ema.apply(built.executor):
            built.start()
    assert same(weights(built), raw)


def test_variables_that_were_erased_are_named(built, here):
    ema = averaged(built, 0.9)
    built.steps(2)
    with ema.apply(built.executor):
        pass
    here.erase(["linear_0.w_0", ema.average_name("linear_0.w_0")])
    with pytest.raises(AverageError, match="the current scope lacks 'linear_0.w_0'"), ema.apply(built.executor):
        pass
    built.executor = paddle.static.Executor(device_place())  # the former one has pointers to the erased variables
    built.start()
    built.steps(2)
    raw = weights(built)
    with ema.apply(built.executor, need_restore=False):
        here.erase(["linear_0.w_0"])
    with pytest.raises(AverageError, match="the scope lacks 'linear_0.w_0' since the average 'ema' was applied"):
        ema.restore(built.executor)
    built.executor = paddle.static.Executor(device_place())
    built.start()
    ema.restore(built.executor)
    assert same(weights(built), raw)


def test_a_program_rebuilt_meanwhile_alike_goes_on_with_the_scope(built, here):
    """The new program's class continues with the old average in the scope, and the old class can still restore its weights."""
    old = averaged(built, 0.9, name="ema")
    built.steps(3)
    mean = averages(built, old)
    again = type(built)()
    again.scope, again.executor = built.scope, built.executor
    again.minimize()
    with again.guard():
        new = ExponentialMovingAverage(0.9, name="ema")
        new.update()
    raw = weights(built)
    with pytest.warns(UserWarning, match="the average 'ema' goes on from 3 updates"), new.apply(built.executor):
        pass
    with new.apply(built.executor):
        assert same(weights(built), mean)
        with pytest.raises(AverageError, match="is applied to these variables"), old.apply(built.executor):
            pass
    assert same(weights(built), raw)
    with old.apply(built.executor):
        assert same(weights(built), mean)
    assert same(weights(built), raw)
