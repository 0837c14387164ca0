"""Programs built after update(), before it, or elsewhere: the average is right, or one line reports why not."""

from __future__ import annotations

import warnings

import paddle
import pytest
from support.averages import averaged, averages, same, weights

from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.errors import AverageError
from ppema.ir import backend, scope
from ppema.passes.clone import clone_for_test


def second_loss(built):
    """Another head on the logits, such as a discriminator or an auxiliary classifier."""
    return paddle.nn.Linear(4, 1)(built.logits).mean()


def test_update_between_two_minimize_calls_is_noticed(built, here):
    built.minimize()
    with built.guard():
        loss = second_loss(built)
        ema = ExponentialMovingAverage(0.9)
        ema.update()
        paddle.optimizer.SGD(0.1).minimize(loss)
    built.start()
    built.steps(2)
    said = r": 'sgd_?' changes .* after update\(\) of the average 'ema', which would be a step behind: call update\(\) after"
    with pytest.raises(AverageError, match=said), ema.apply(built.executor):
        pass


def test_parameters_that_came_after_update_are_noticed(built, here):
    ema = averaged(built, 0.9)
    known = set(weights(built))
    with built.guard():
        loss = second_loss(built)
        only = [each.variable for each in backend().parameters(built.main) if each.name not in known]
        paddle.optimizer.SGD(0.1, parameters=only).minimize(loss)
    built.start()
    built.steps(2)
    new = ", ".join(sorted(each.name for each in only))
    said = rf"update\(\) of the average 'ema' did not cover {new}, which came into training after it"
    with pytest.raises(AverageError, match=said), ema.apply(built.executor):
        pass


def test_an_assignment_to_weights_after_update_is_noticed(built, here):
    """A Wasserstein critic clips its weights: the average would observe them before they are clipped."""
    ema = averaged(built, 0.9)
    built.steps(1)
    with ema.apply(built.executor):
        pass
    with built.guard():
        weight = next(each.variable for each in backend().parameters(built.main) if each.name == "linear_0.w_0")
        paddle.assign(paddle.clip(weight, -0.1, 0.1), output=weight)
    with pytest.raises(AverageError, match=r"test_attached.py:\d+: 'assign_?.*' changes linear_0.w_0 after update"):
        with ema.apply(built.executor):
            pass


@pytest.mark.parametrize("mix", [1.0, 0.5])
def test_averages_and_overwriting_after_update_are_nothing_to_notice(built, here, mix):
    built.minimize()
    with built.guard():
        first = ExponentialMovingAverage(0.9)
        first.update()
        second = ExponentialMovingAverage(0.5, overwrite_every=2, overwrite_mix=mix)
        second.update()
        paddle.nn.functional.softmax(built.logits).mean()
    built.start()
    built.steps(3)
    for ema in (first, second):
        with ema.apply(built.executor):
            assert same(weights(built), averages(built, ema))


def test_tensorflows_idiom_of_evaluation(built, here):
    """A program for evaluation gets the names before any update, and loads the averages into the variables themselves."""
    ema = averaged(built, 0.9, exclude=["conv2d_0.b_0"], name="mean")
    built.steps(3)
    saved = {name: scope.get(built.scope, name) for name in backend().state_names(built.main)}
    plain = type(built)()
    with plain.guard():
        test, _ = clone_for_test(plain.main, [plain.logits])
    for program in (plain.main, test):
        with paddle.static.program_guard(program, plain.startup):
            reader = ExponentialMovingAverage(0.9, exclude=["conv2d_0.b_0"], name="mean")
            mapping = reader.variables_to_restore()
            assert reader.average_name("batch_norm2d_0.w_1") == "batch_norm2d_0.w_1.mean"
            with pytest.raises(
                AverageError, match="'conv2d_0.b_0' is not averaged by 'mean'; it averages batch_norm2d_0.b_0, "
            ):
                reader.average_name("conv2d_0.b_0")
        assert {name: each.name for name, each in mapping.items()} == {
            name: each.name for name, each in ema.variables_to_restore().items()
        }
    plain.start()
    scope.put(plain.scope, {each.name: saved[name] for name, each in mapping.items()})
    with ema.apply(built.executor):
        assert same(weights(plain), weights(built))


def test_a_subset_gets_its_averages_and_the_rest_its_own_values(built, here):
    ema = averaged(built, 0.9)
    chosen = [each.variable for each in backend().parameters(built.main) if each.name.startswith("linear")]
    fresh = type(built)()
    with fresh.guard():
        other = ExponentialMovingAverage(0.9, name="ema").variables_to_restore(["linear_0.w_0", "linear_0.b_0"])
    expected = {name + ".ema" * name.startswith("linear"): name for name in weights(built)}
    for mapping in (ema.variables_to_restore(chosen), other):
        assert {name: each.name for name, each in mapping.items()} == expected
    assert {n: v.name for n, v in ema.variables_to_restore([]).items()} == {name: name for name in weights(built)}
    with pytest.raises(AverageError, match="'images' is not averaged"):
        ema.variables_to_restore(["images"])


def test_a_frozen_norm_keeps_its_own_names_before_update():
    """A frozen norm does not change in training, so no average of it is saved."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        frozen = paddle.ParamAttr(trainable=False)
        norm = paddle.nn.BatchNorm1D(4, weight_attr=frozen, bias_attr=frozen, use_global_stats=True)
        paddle.nn.Linear(4, 2)(norm(paddle.static.data("x", [-1, 4], "float32")))
        mapping = ExponentialMovingAverage(0.9, name="ema").variables_to_restore()
    assert sorted(mapping) == [
        *(f"batch_norm1d_0.{each}" for each in ("b_0", "w_0", "w_1", "w_2")),
        *("linear_0.b_0.ema", "linear_0.w_0.ema"),
    ]


def test_an_empty_program_has_no_names():
    with paddle.static.program_guard(paddle.static.Program()):
        with pytest.raises(AverageError, match="the default main program has no parameters"):
            ExponentialMovingAverage(0.9).variables_to_restore()


def test_a_startup_program_that_has_run_is_noticed_and_a_new_one_begins_the_average(built, here):
    built.minimize()
    built.start()
    with built.guard(), pytest.warns(UserWarning, match="the current scope has the weights, but not the average 'ema': if "):
        ExponentialMovingAverage(0.9).update()
    other = type(built)()
    other.minimize()
    other.start()
    new = paddle.static.Program()
    with paddle.static.scope_guard(other.scope):
        other.steps(2)
        with paddle.static.program_guard(other.main, new):
            ema = ExponentialMovingAverage(0.9, name="ema")
            ema.update()
        before = weights(other)
        other.executor.run(new)
        assert same(weights(other), before)
        other.steps(1)
        with ema.apply(other.executor):
            assert same(weights(other), averages(other, ema))


def test_programs_one_after_another_in_one_scope_are_nothing_to_notice(built, here):
    """A loop over decays: the scope holds the weights, and another average of them, from the previous program."""
    averaged(built, 0.9, name="short")
    other = type(built)()
    other.minimize()
    with other.guard(), warnings.catch_warnings():
        warnings.simplefilter("error")
        ExponentialMovingAverage(0.99, name="long").update()


def test_a_variable_of_the_model_with_the_name_of_a_shadow_is_named():
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        x = paddle.static.data("x", [-1, 4], "float32")
        for name in ("w", "w.ema"):
            x = paddle.nn.Linear(4, 4, weight_attr=paddle.ParamAttr(name=name), bias_attr=False)(x)
        paddle.optimizer.SGD(0.1).minimize(x.mean())
        with pytest.raises(
            AverageError, match="^the program already has 'w.ema', as the average 'ema' would name one of its own"
        ):
            ExponentialMovingAverage(0.9, name="ema").update()
        ExponentialMovingAverage(0.9, name="mean").update()


def test_a_guard_without_the_startup_program_is_noticed(built, here):
    built.minimize()
    # The default startup program of this process may hold what other tests built.
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()), paddle.static.program_guard(built.main):
        with pytest.warns(UserWarning, match="the default startup program fills none of the weights"):
            ExponentialMovingAverage(0.9).update()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: 1, "got 1"),
        (lambda: True, "got True"),
        (lambda: paddle.full([1], 1, "int64"), r"got int64 \[1\]"),
        (lambda: paddle.full([2], True, "bool"), r"got bool \[2\]"),
    ],
)
def test_when_is_a_bool_variable_of_one_element(built, given, said):
    built.minimize()
    with built.guard():
        when = given()
        grown = backend().size(built.main)
        ema = ExponentialMovingAverage(0.9)
        with pytest.raises(TypeError, match=f"when: expected a bool Variable of one element, {said}"):
            ema.update(when)
        assert backend().size(built.main) == grown
        ema.update(paddle.full([1], True, "bool"))


def test_two_programs_of_one_startup_program_need_averages_of_two_names(built, here):
    """The two programs of a GAN share a startup program: with one name, each would update the average of both."""
    averaged(built, 0.9)
    other = type(built)()
    other.startup = built.startup
    with other.guard():
        other.minimize()
        with pytest.raises(AverageError, match="the startup program already has 'batch_norm2d_0.b_0.ema', as "):
            ExponentialMovingAverage(0.5, name="ema").update()
        ExponentialMovingAverage(0.5, name="other").update()


def test_an_average_that_goes_on_from_an_earlier_program_is_noticed(built, here):
    """In a loop over folds the startup program runs before update(): the second average would continue the first."""
    averaged(built, 0.9)
    built.steps(4)

    def fold(late):
        again = type(built)()
        again.scope = built.scope
        again.minimize()
        if late:
            again.start()
        with again.guard():
            ema = ExponentialMovingAverage(0.9, name="ema")
            ema.update()
        if not late:
            again.start()
        again.steps(4)
        return ema

    late = fold(True)
    said = "the average 'ema' goes on from 4 updates that an earlier program made in this scope, as the startup program has not"
    with pytest.warns(UserWarning, match=said) as caught, late.apply(built.executor):
        pass
    assert caught[0].filename == __file__
    for ema in (late, fold(False)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with ema.apply(built.executor):
                assert same(weights(built), averages(built, ema))
