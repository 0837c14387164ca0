"""apply and restore for weights whose type differs from their shadow's."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.moving import Moving, cuts

from ppema.averaging.precision import rounded
from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.ema.saved import read_state
from ppema.errors import AverageError
from ppema.ir import backend, scope
from ppema.passes.average import read_shadows
from ppema.passes.clone import clone_for_test


def averaged(program, monkeypatch=None, **settings):
    """The class on a program that has run a few steps. With `monkeypatch`, SGD updates its master weights, as on a GPU."""
    program.move()
    with program.guard():
        ema = ExponentialMovingAverage(0.8, name="ema", **settings)
        if monkeypatch is None:
            ema.update()
        else:
            with monkeypatch.context() as patched:
                patched.setattr(paddle, "is_compiled_with_cuda", lambda: True)
                ema.update()
    program.start()
    for by in (0.1, 0.013, 0.2):
        program.step(by)
    return ema


def state(program) -> dict[str, bytes]:
    return {name: scope.get(program.scope, name).tobytes() for name in backend().state_names(program.main)}


@pytest.fixture(params=["float16", "bfloat16", "float64"])
def program(request):
    made = Moving(request.param)
    with paddle.static.scope_guard(made.scope):
        yield made


def as_weight(program, name="w.ema"):
    """The shadow rounded to the type of the program's weight, as bits."""
    shadow = scope.get(program.scope, name)
    return shadow if shadow.dtype == np.float64 else rounded(shadow, program.dtype)


@pytest.mark.parametrize("need_restore", [True, False])
def test_a_weight_holds_its_shadow_rounded_and_comes_back_bit_for_bit(program, need_restore):
    ema = averaged(program)
    before, expected = state(program), as_weight(program)
    for _ in range(2):
        with ema.apply(program.executor, need_restore):
            assert scope.dtype(program.scope, "w") == program.dtype
            assert scope.get(program.scope, "w").tobytes() == expected.tobytes()
            assert scope.get(program.scope, "b").tobytes() == before["b.ema"]
        if not need_restore:
            ema.restore(program.executor)
        assert state(program) == before


def test_weights_of_their_shadows_type_share_its_memory(program):
    ema = averaged(program)
    names = ["b", "w"] if program.dtype == "float64" else ["b"]
    memory = {name: scope.tensor(program.scope, name)._ptr() for name in (*names, *map(ema.average_name, names))}
    with ema.apply(program.executor):
        for name in names:
            assert scope.tensor(program.scope, name)._ptr() == memory[ema.average_name(name)]
            assert scope.tensor(program.scope, ema.average_name(name))._ptr() == memory[ema.average_name(name)]
    assert {name: scope.tensor(program.scope, name)._ptr() for name in memory} == memory


def test_the_raw_half_weight_is_not_copied_but_put_aside(program):
    ema = averaged(program)
    pointer = scope.tensor(program.scope, "w")._ptr()
    with ema.apply(program.executor):
        assert scope.tensor(program.scope, "w")._ptr() != pointer
    assert scope.tensor(program.scope, "w")._ptr() == pointer


def test_training_goes_on_from_half_averages_and_their_own_is_untouched(program):
    ema = averaged(program)
    before = state(program)
    with ema.apply(program.executor, need_restore=False):
        start = program.get("w").astype("float32")
    program.step(0.25)
    tolerance = {"float16": 2**-10, "bfloat16": 2**-7, "float64": 1e-7}[program.dtype]
    np.testing.assert_allclose(program.get("w"), start + 0.25, rtol=tolerance)
    ema.restore(program.executor)
    assert {name: value for name, value in state(program).items() if name in ("w", "b")} == {
        name: before[name] for name in ("w", "b")
    }


def test_training_while_applied_is_noticed_of_half_weights_alone():
    program = Moving("float16")
    with paddle.static.scope_guard(program.scope):
        ema = averaged(program, include=["w"])
        with pytest.raises(AverageError, match="its startup program, ran while the average 'ema' was applied"):
            with ema.apply(program.executor):
                program.step(0.1)


def test_a_shadow_that_does_not_fit_leaves_everything_as_it_was(program):
    ema = averaged(program)
    wrong = "w.ema"
    scope.tensor(program.scope, wrong).set(np.zeros(4, scope.get(program.scope, wrong).dtype), paddle.CPUPlace())
    before = state(program)
    for need_restore in (True, False):
        with pytest.raises(AverageError, match=r"does not fit the current scope: w is .* \[5\], w.ema is"):
            with ema.apply(program.executor, need_restore):
                pass
        assert state(program) == before


@pytest.mark.parametrize("flag", [True, False])
def test_a_rewired_test_program_reads_the_shadow_as_the_weights_type(program, flag):
    """The weight is the shadow as Paddle casts it, also in the branches of a `cond`. `apply` differs only if that cast cuts."""
    with program.guard():
        test, values = clone_for_test(program.main, [program.outer, program.inner])
    reads, read = backend().clone(test, values)
    ema = averaged(program)
    read_shadows(backend(), reads, {name: ema.average_name(name) for name in "wb"})
    assert {"w", "b"}.isdisjoint(backend().state_names(reads))
    with program.guard():
        cast = paddle.cast(paddle.cast(ema.average("w"), getattr(paddle, program.dtype)), "float32")
    (w,) = program.run(program.main, [cast])
    before = state(program)
    outer, inner = program.run(reads, read, flag=flag)
    np.testing.assert_array_equal(outer, w + program.get("b.ema"))
    np.testing.assert_array_equal(inner, w * 2 if flag else w + program.get("b.ema"))
    assert state(program) == before
    with ema.apply(program.executor):
        for ours, theirs in zip((outer, inner), program.run(test, values, flag=flag), strict=True):
            unit = {"float16": 2**-10, "bfloat16": 2**-7, "float64": 0}[program.dtype]
            np.testing.assert_allclose(ours, theirs, rtol=unit if cuts() else 0)


def test_without_restore_the_master_weight_gets_the_average_and_comes_back(monkeypatch):
    program = Moving("bfloat16", master=True)
    with paddle.static.scope_guard(program.scope):
        ema = averaged(program, monkeypatch)
        scope.put(program.scope, {"w_fp32_master_0": np.full(5, 1.001, "float32")})
        program.step(0.1)
        before = state(program)
        with ema.apply(program.executor, need_restore=False):
            assert scope.get(program.scope, "w_fp32_master_0").tobytes() == before["w.ema"]
            assert scope.get(program.scope, "w").tobytes() == as_weight(program).tobytes()
            scope.put(program.scope, {"w_fp32_master_0": np.zeros(5, "float32")})
            assert scope.get(program.scope, "w.ema").tobytes() == before["w.ema"]
        ema.restore(program.executor)
        assert state(program) == before
        with ema.apply(program.executor):
            assert scope.get(program.scope, "w_fp32_master_0").tobytes() == before["w_fp32_master_0"]
        assert state(program) == before


def test_variables_to_restore_names_half_weights_by_their_shadows(program):
    ema = averaged(program)
    assert {name: variable.name for name, variable in ema.variables_to_restore().items()} == {"w.ema": "w", "b.ema": "b"}
    assert (ema.average("w").dtype == paddle.float64) == (program.dtype == "float64")


@pytest.mark.parametrize("need_restore", [True, False])
def test_what_is_saved_meanwhile_is_the_raw_half_weight(program, need_restore):
    ema = averaged(program)
    before = state(program)
    with ema.apply(program.executor, need_restore):
        assert {name: value.tobytes() for name, value in read_state(program.main).items()} == before


def test_what_is_saved_after_training_from_copies_is_what_training_made(program):
    ema = averaged(program)
    with ema.apply(program.executor, need_restore=False):
        pass
    program.step(0.25)
    assert {name: value.tobytes() for name, value in read_state(program.main).items()} == state(program)
