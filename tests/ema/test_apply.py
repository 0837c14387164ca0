"""apply and restore: all weights get their averages, or none does, and every raw weight comes back."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest
from support.averages import averaged, averages, same, weights

from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.errors import AverageError
from ppema.ir import backend, scope
from ppema.passes.clone import clone_for_test


def test_usage_1_with_apply_evaluates_the_average_and_restores(built, here):
    with built.guard():
        test, (logits,) = clone_for_test(built.main, [built.logits])
    ema = averaged(built, 0.9)
    built.steps(5)
    raw, mean, feed = weights(built), averages(built, ema), built.feed()
    (before,) = built.run(test, [logits], feed)
    with ema.apply(built.executor):
        assert same(weights(built), mean)
        (applied,) = built.run(test, [logits], feed)
    (after,) = built.run(test, [logits], feed)
    assert same(weights(built), raw) and same(averages(built, ema), mean)
    assert before.tobytes() == after.tobytes() != applied.tobytes()


def test_usage_2_restores_later_by_hand(built, here):
    ema = averaged(built, 0.9)
    built.steps(5)
    raw, mean = weights(built), averages(built, ema)
    with ema.apply(built.executor, need_restore=False):
        assert same(weights(built), mean)
    assert same(weights(built), mean)
    ema.restore(built.executor)
    assert same(weights(built), raw) and same(averages(built, ema), mean)


def test_training_after_apply_without_restore_leaves_the_former_weights_to_restore(built, here):
    ema = averaged(built, 0.9)
    built.steps(5)
    raw = weights(built)
    with ema.apply(built.executor, need_restore=False):
        pass
    built.steps(3)
    assert not same(weights(built), raw)
    ema.restore(built.executor)
    assert same(weights(built), raw)


def test_training_goes_on_from_the_average_without_touching_the_shadow(built, here):
    """The weights begin with the average, and the shadow changes only by its own update: s + α·(θ - s)."""
    ema = averaged(built, 0.75)
    built.steps(5)
    mean = averages(built, ema)
    with ema.apply(built.executor, need_restore=False):
        assert same(averages(built, ema), mean)
        built.steps(1)
    alpha = 0.25 / (1 - 0.75**6)
    for name, theta in weights(built).items():
        expected = mean[name] + alpha * (theta.astype("float64") - mean[name])
        np.testing.assert_allclose(averages(built, ema)[name], expected, rtol=1e-5, atol=1e-6)
    assert not same(averages(built, ema), weights(built))


def test_an_apply_that_nobody_can_restore_stands_in_nobodys_way(built, here):
    ema = averaged(built, 0.9)
    other = ExponentialMovingAverage(0.5, name="other")
    with built.guard(), pytest.warns(UserWarning, match="if the startup program has run, run it again after update"):
        other.update()
    built.start()
    built.steps(2)
    with ema.apply(built.executor, need_restore=False):
        pass
    del ema
    gc.collect()
    with other.apply(built.executor):
        pass


def test_a_second_apply_before_restore_is_refused_and_nothing_is_lost(built, here):
    ema = averaged(built, 0.9)
    built.steps(2)
    raw = weights(built)
    with ema.apply(built.executor), pytest.raises(AverageError, match="already applied: call restore"):
        with ema.apply(built.executor):
            pass
    assert same(weights(built), raw)
    with ema.apply(built.executor, need_restore=False):
        pass
    with pytest.raises(AverageError, match="already applied"), ema.apply(built.executor):
        pass
    ema.restore(built.executor)
    assert same(weights(built), raw)


def test_an_exception_inside_with_restores(built, here):
    ema = averaged(built, 0.9)
    built.steps(2)
    raw = weights(built)
    with pytest.raises(ZeroDivisionError), ema.apply(built.executor):
        raise ZeroDivisionError
    assert same(weights(built), raw)


def test_restore_inside_with_is_enough(built, here):
    ema = averaged(built, 0.9)
    built.steps(2)
    raw = weights(built)
    with ema.apply(built.executor):
        ema.restore(built.executor)
        assert same(weights(built), raw)
    assert same(weights(built), raw)


def test_training_inside_with_is_noticed_and_spares_the_raw_weights(built, here):
    ema = averaged(built, 0.9)
    built.steps(2)
    raw = weights(built)
    with pytest.raises(AverageError, match="the train program, or its startup program, ran while the average 'ema' was"):
        with ema.apply(built.executor):
            built.steps(1)
    assert same(weights(built), raw)


def test_registered_programs_are_in_test_mode_only_while_applied(built, here):
    copy, (logits,) = backend().clone(built.main, [built.logits])
    ema = averaged(built, 0.9, programs=[copy])
    built.steps(4)

    def switches():
        return {op.is_test for op in backend().operations(copy)} - {None}

    assert switches() == {False}
    mean = averages(built, ema)
    with ema.apply(built.executor):
        assert switches() == {True}
        built.run(copy, [logits])
    assert switches() == {False}
    # In training mode the run would have moved the statistics that stood in for the raw ones.
    assert same(averages(built, ema), mean)


def test_before_the_first_step_there_is_no_average_to_apply(built, here):
    ema = averaged(built, 0.9)
    with pytest.raises(AverageError, match="has seen no update yet"), ema.apply(built.executor):
        pass


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True), (False, False)])
def test_another_average_of_the_same_weights_is_refused_meanwhile(built, here, first, second):
    built.minimize()
    with built.guard():
        a, b = ExponentialMovingAverage(0.5), ExponentialMovingAverage(0.9)
        a.update()
        b.update()
    built.start()
    built.steps(3)
    raw, shadows = weights(built), [averages(built, a), averages(built, b)]
    with a.apply(built.executor, need_restore=first):
        with pytest.raises(AverageError, match="the average 'ema' is applied to these variables: restore it before"):
            with b.apply(built.executor, need_restore=second):
                pass
    if not first:
        a.restore(built.executor)
    assert same(weights(built), raw)
    assert same(averages(built, a), shadows[0]) and same(averages(built, b), shadows[1])
    with b.apply(built.executor):
        assert same(weights(built), shadows[1])


def test_a_users_own_exception_is_not_replaced(built, here):
    """Training inside the block is an error too, but the user's exception comes first."""
    ema = averaged(built, 0.9)
    built.steps(2)
    with pytest.raises(ZeroDivisionError), ema.apply(built.executor):
        _ = built.steps(1) or 1 / 0
    with pytest.raises(AverageError, match="it is not applied"):
        ema.restore(built.executor)


def test_programs_given_to_apply_are_in_test_mode_meanwhile_and_each_as_it_was_after(built, here):
    """One program was in test mode already, and one is given to the constructor too."""
    first, second, third = (backend().clone(built.main, [])[0] for _ in range(3))
    backend().set_test(second)
    ema = averaged(built, 0.9, programs=[first])
    built.steps(2)

    def switches():
        return [{op.is_test for op in backend().operations(each)} - {None} for each in (first, second, third)]

    with ema.apply(built.executor, programs=[first, second, third]):
        assert switches() == [{True}] * 3
    assert switches() == [{False}, {True}, {False}]
    with pytest.raises(TypeError, match="programs: expected paddle.static.Programs, got a str"):
        with ema.apply(built.executor, programs=["test"]):
            pass


def test_swapping_twice_is_the_identity_for_any_values(built, here):
    """The swap computes nothing, so NaN, infinities, -0.0 and subnormal numbers keep their bits."""
    ema = averaged(built, 0.9)
    built.steps(1)
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38], "float32")
    names = [p.name for p in backend().parameters(built.main)]
    for index, name in enumerate([*names, *(ema.average_name(name) for name in names)]):
        value = scope.get(built.scope, name)
        scope.put(built.scope, {name: np.resize(np.roll(odd, index), value.shape)})
    raw, mean = weights(built), averages(built, ema)
    for _ in range(2):
        with ema.apply(built.executor):
            assert same(weights(built), mean) and same(averages(built, ema), mean)
        assert same(weights(built), raw) and same(averages(built, ema), mean)


@pytest.mark.parametrize("need_restore", [True, False])
def test_an_interrupt_at_any_point_loses_nothing(built, here, need_restore):
    """After Ctrl-C before any line of ppema in `apply` or `restore`, the raw weights are back or `restore` brings them."""
    ema = averaged(built, 0.9)
    built.steps(2)
    raw, mean = weights(built), averages(built, ema)

    def swap():
        with ema.apply(built.executor, need_restore=need_restore):
            assert same(weights(built), mean)
        if not need_restore:
            ema.restore(built.executor)

    swap()  # the lines that run only at the first swap are not traced below
    line, found = 0, set()
    while interrupted(swap, line):
        if not same(weights(built), raw):
            ema.restore(built.executor)
            found.add("restore")
        assert same(weights(built), raw) and same(averages(built, ema), mean), f"an interrupt at line {line}"
        pointers = {scope.tensor(here, name)._ptr() for name in raw}
        assert pointers.isdisjoint(scope.tensor(here, ema.average_name(name))._ptr() for name in raw), line
        line += 1
    assert line > 50 and found <= (set() if need_restore else {"restore"})


def interrupted(action, line) -> bool:
    """Interrupt `action` before line number `line`, counted over all lines of ppema that run. False if it ended earlier."""
    left = line

    def trace(frame, event, _):
        nonlocal left
        if not frame.f_globals.get("__name__", "").startswith("ppema"):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
