"""The saved state of a program, also while an average is applied."""

from __future__ import annotations

import paddle
import pytest
from support.averages import averaged, averages, same, weights

from ppema.ema.saved import read_state
from ppema.errors import AverageError
from ppema.ir import backend, scope


def saved(built):
    return read_state(built.main)


@pytest.mark.parametrize("need_restore", [True, False])
def test_saved_while_applied_raw_is_raw_and_averages_are_averages(built, here, need_restore):
    ema = averaged(built, 0.9)
    built.steps(4)
    before = saved(built)
    assert set(before) == set(backend().state_names(built.main))
    with ema.apply(built.executor, need_restore=need_restore):
        assert scope.get(built.scope, "linear_0.w_0").tobytes() != before["linear_0.w_0"].tobytes()
        assert same(saved(built), before)
    if not need_restore:
        assert same(saved(built), before)
        ema.restore(built.executor)
    assert same(saved(built), before)


def test_what_was_trained_from_the_average_is_saved_as_the_weights(built, here):
    """A run that continues from the saved state gives the same weights as this one."""
    ema = averaged(built, 0.9)
    built.steps(4)
    with ema.apply(built.executor, need_restore=False):
        built.steps(2)
        state = saved(built)
    assert state["linear_0.w_0"].tobytes() == scope.get(built.scope, "linear_0.w_0").tobytes()
    feeds = [built.feed() for _ in range(3)]
    other = type(built)()
    averaged(other, 0.9, name="ema")
    scope.put(other.scope, state)
    for each in (built, other):
        for feed in feeds:
            each.run(fetch=[each.loss], feed=feed)
    ours, theirs = ({name: scope.get(each.scope, name) for name in state} for each in (built, other))
    assert same(ours, theirs)


def test_a_scope_without_the_variables(built):
    averaged(built, 0.9)
    with paddle.static.scope_guard(paddle.static.Scope()):
        with pytest.raises(AverageError, match="the current scope lacks 'batch_norm2d_0.b_0': run the startup program"):
            saved(built)


def test_paddles_files_of_one_variable_each_take_every_name(built, here, tmp_path):
    """Paddle names a file after each variable; a slash in a name would need a folder."""
    averaged(built, 0.9, precision="compensated")
    built.steps(3)
    before = saved(built)
    paddle.static.io.save_vars(built.executor, str(tmp_path / "each"), built.main, predicate=lambda each: each.persistable)
    assert {path.name for path in (tmp_path / "each").iterdir()} == set(before)
    built.steps(2)
    paddle.static.io.load_vars(built.executor, str(tmp_path / "each"), built.main, predicate=lambda each: each.persistable)
    assert same(saved(built), before)


@pytest.mark.parametrize("need_restore", [True, False])
def test_what_paddle_saves_while_applied_is_the_average_as_with_its_own_class(built, here, tmp_path, need_restore):
    """The file has the averages under the weights' names and under the shadows' names, and no raw weights."""
    ema = averaged(built, 0.9)
    built.steps(4)
    raw, mean = weights(built), averages(built, ema)
    with ema.apply(built.executor, need_restore=need_restore):
        paddle.static.save(built.main, str(tmp_path / "all"))
        paddle.static.io.save_vars(built.executor, str(tmp_path / "each"), built.main, predicate=lambda each: each.persistable)
    if not need_restore:
        ema.restore(built.executor)
    state = paddle.static.load_program_state(str(tmp_path / "all"))
    for name, value in mean.items():
        assert state[name].tobytes() == state[ema.average_name(name)].tobytes() == value.tobytes() != raw[name].tobytes()
    assert same(weights(built), raw)
    paddle.static.io.load_vars(built.executor, str(tmp_path / "each"), built.main, predicate=lambda each: each.persistable)
    assert same(weights(built), mean) and same(averages(built, ema), mean)


def test_a_file_saved_while_applied_makes_the_averages_the_weights_for_good(built, here, tmp_path):
    """As on docs/class.md. Training goes on from the averages, and they can be applied again."""
    ema = averaged(built, 0.9)
    built.steps(4)
    mean = averages(built, ema)
    with ema.apply(built.executor, need_restore=False):
        paddle.static.save(built.main, str(tmp_path / "averaged"))
    ema.restore(built.executor)
    assert not same(weights(built), mean)
    paddle.static.load(built.main, str(tmp_path / "averaged"), built.executor)
    assert same(weights(built), mean) and same(averages(built, ema), mean)
    built.steps(1)
    trained = weights(built)
    with ema.apply(built.executor):
        assert same(weights(built), averages(built, ema))
    assert same(weights(built), trained) and not same(trained, mean)
