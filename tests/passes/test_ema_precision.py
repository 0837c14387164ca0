"""Compensated averages and averages of weights other than float32, in programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paddle
import pytest
from support.appended import appended
from support.device import device_place
from support.fed import SHAPES, Fed, walk
from support.kernels import paddle_kernels
from support.moving import Moving

from ppema.averaging.decay import FLOATS, Constant, ThresSteps, step_size, weight_after
from ppema.averaging.precision import compensated
from ppema.averaging.rule import Rule
from ppema.errors import AverageError
from ppema.ir import backend, scope

pytestmark = pytest.mark.usefixtures("kernels")


def bits(where, *names):
    return [scope.get(where, name).tobytes() for name in names]


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("schedule", [Constant(0.999), ThresSteps(0.99999), Constant(0.99999999), Constant(1e-50)])
def test_a_program_computes_what_the_formula_says_bit_for_bit(schedule, every):
    fed = Fed(ema=Rule(schedule, update_every=every, precision="compensated"))
    zeros = {name: np.zeros(shape, "float32") for name, shape in SHAPES.items()}
    state, weight = {name: (zero, zero) for name, zero in zeros.items()}, 0.0
    for t, values in enumerate(walk(0, 120), start=1):
        fed.step(values)
        if t % every == 0 or t == 1:
            decay = schedule(max(0.0, float(t - every)), every, FLOATS)
            new = weight_after(weight, decay)
            # If the very first run does not end an interval, it only fills the shadow.
            alpha, weight = (np.float32(step_size(new, decay)), new) if t % every == 0 else (np.float32(1), 0.0)
            state = {name: compensated(*state[name], values[name], alpha) for name in SHAPES}
        if t % 10 == 0:
            for name in SHAPES:
                expected = [np.asarray(part, "float32").tobytes() for part in state[name]]
                assert bits(fed.scope, f"{name}.ema", f"{name}.ema.rest") == expected, (t, name)


def test_the_first_compensated_update_is_the_value_itself_bit_for_bit():
    fed = Fed(ema=Rule(Constant(0.9999), precision="compensated"))
    (values,) = walk(0, 1)
    fed.step(values)
    for name in SHAPES:
        assert bits(fed.scope, f"{name}.ema") == [values[name].tobytes()]
        assert not scope.get(fed.scope, f"{name}.ema.rest").any()


def test_a_run_that_is_no_step_leaves_shadow_and_rest_alone():
    program = Moving("bfloat16")
    program.move()
    with program.guard():
        rule = Rule(Constant(0.9), precision="compensated")
        average = appended(program.main, program.startup, rule, when=program.flag)
    program.start()
    for _ in range(3):
        program.step(0.1)
    before = bits(program.scope, *average.state_names)
    program.run(program.main, by=0.1, flag=False)
    assert bits(program.scope, *average.state_names) == before
    program.step(0.1)
    assert scope.get(program.scope, average.count) == 4


def test_the_state_of_a_compensated_average_holds_the_rests(built):
    built.minimize()
    with built.guard():
        parameters = backend().parameters(built.main)
        plain = appended(built.main, built.startup, Rule(Constant(0.9)), parameters, name="plain")
        average = appended(built.main, built.startup, Rule(Constant(0.9), precision="compensated"), parameters)
    assert plain.rest_of == {}
    assert average.rest_of == {p.name: f"{p.name}.ema.rest" for p in parameters}
    assert set(average.rest_of.values()) < set(average.state_names) <= set(backend().state_names(built.main))


@pytest.mark.parametrize("precision", ["float32", "compensated"])
@pytest.mark.parametrize(("dtype", "bound"), [("float16", 2e-7), ("bfloat16", 2e-7), ("float64", 1e-15)])
def test_the_average_of_another_type_is_the_mean_of_its_values(dtype, bound, precision):
    program = Moving(dtype)
    program.move()
    with program.guard():
        parameters = backend().parameters(program.main)
        rule = Rule(Constant(0.95), update_every=2, precision=precision)
        average = appended(program.main, program.startup, rule, parameters)
    assert average.master_of == {}
    program.start()
    seen = []
    for t in range(1, 41):
        program.step(0.01 * t)
        if t % 2 == 0:
            seen.append(program.get("w").astype("float64"))
    factors = 0.95 ** (2.0 * np.arange(20)[::-1])
    expected = sum(f * value for f, value in zip(factors, seen, strict=True)) / factors.sum()
    shadow = program.get("w.ema")
    assert shadow.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_allclose(shadow, expected, rtol=bound * (1 if precision == "compensated" else 5))
    assert program.get("b.ema").dtype == np.float32


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_without_bias_correction_the_average_begins_with_the_weights_of_any_type(dtype):
    program = Moving(dtype)
    program.move()
    with program.guard():
        appended(program.main, program.startup, Rule(Constant(0.5), bias_correction=False))
    program.start()
    assert program.get("w.ema").tolist() == [1.0] * 5
    program.step(0.5)
    assert program.get("w.ema").tolist() == [1.25] * 5


def with_masters(program, monkeypatch):
    """The pass on a program whose SGD updates its master weights, as in a GPU build of Paddle."""
    program.move()
    with monkeypatch.context() as patched, program.guard():
        patched.setattr(paddle, "is_compiled_with_cuda", lambda: True)
        parameters = backend().parameters(program.main)
        return appended(program.main, program.startup, Rule(Constant(0.5)), parameters)


def test_master_weights_are_averaged_in_place_of_the_half_weights(monkeypatch):
    program = Moving("bfloat16", master=True)
    average = with_masters(program, monkeypatch)
    assert average.master_of == {"w": "w_fp32_master_0"}
    program.start()
    values = [1.001, 1.0035]  # closer together than the resolution of bfloat16
    for value in values:
        scope.put(program.scope, {"w_fp32_master_0": np.full(5, value, "float32")})
        program.step(0.25)
    assert program.get("w.ema").tolist() == pytest.approx([(values[0] + 2 * values[1]) / 3] * 5, rel=2e-7)
    assert (program.get("w") < 0.6).all()


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="concerns SGD's kernel for CPUs")
def test_a_master_weight_that_its_optimizer_leaves_alone_is_not_averaged():
    program = Moving("bfloat16", master=True)
    program.move()
    assert backend().master_weights(program.main) == {}
    program.start()
    program.step(0.25)
    assert program.get("w").tolist() == [0.75] * 5
    # If a later Paddle updates it, the average has to read the master weight here as well.
    assert program.get("w_fp32_master_0").tolist() == [1.0] * 5


@pytest.mark.parametrize("name", ["Momentum", "Adam", "AdamW"])
def test_every_optimizers_master_weights_are_found_and_read(name, monkeypatch):
    """The weights are float32 and Paddle takes them for half: on a CPU 3.3 builds only SGD for half weights."""
    monkeypatch.setattr(paddle.optimizer.Optimizer, "_is_dtype_fp16_or_bf16", lambda self, dtype: True)
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        names = ["u", "v"]
        one = paddle.nn.initializer.Constant(1.0)
        u, v = (paddle.static.create_parameter([3], "float32", name=each, default_initializer=one) for each in names)
        getattr(paddle.optimizer, name)(0.1, multi_precision=True).minimize((u * u + v * v).sum())
        average = appended(main, startup, Rule(Constant(0.5)))
    assert average.master_of == {each: f"{each}_fp32_master_0" for each in names}
    assert set(average.master_of.values()) <= set(backend().state_names(main))
    where, executor = paddle.static.Scope(), paddle.static.Executor(device_place())
    with paddle.static.scope_guard(where):
        executor.run(startup)
        scope.put(where, {each: np.full(3, 7, "float32") for each in average.master_of.values()})
        executor.run(main)
    for each in names:
        # CPU kernels do not update a master weight. The shadow equals the master weight and not the weight.
        master = scope.get(where, f"{each}_fp32_master_0")
        assert bits(where, f"{each}.ema") == [master.tobytes()] != bits(where, each)


MULTI_TENSOR = {"multi_precision": True, "use_multi_tensor": True}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {"multi_precision": True}) for name in ("Momentum", "Adam", "AdamW", "Lamb")),
        *((name, MULTI_TENSOR) for name in ("Momentum", "Adam")),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.skipif(
    paddle.framework.use_pir_api() and not paddle.is_compiled_with_cuda(),
    reason="Paddle 3 builds no optimizer of half weights, but for SGD's, where it has no GPU kernels",
)
def test_the_update_of_a_half_model_reads_the_master_weights(dtype, name, settings):
    """Only the programs are checked, since a CPU cannot run them."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        one = paddle.nn.initializer.Constant(1.0)
        names = ["u", "v"]
        u, v = (paddle.static.create_parameter([8], dtype, name=each, default_initializer=one) for each in names)
        loss = sum((paddle.cast(each, "float32") ** 2).sum() for each in (u, v))
        getattr(paddle.optimizer, name)(0.1, **settings).minimize(loss)
        with paddle_kernels():
            average = appended(main, startup, Rule(Constant(0.5)))
    assert average.master_of == {each: f"{each}_fp32_master_0" for each in names}
    subtractions = [op for op in main.global_block().ops if op.type == "elementwise_sub"]
    assert [(op.input("X"), op.input("Y")) for op in subtractions if op.input("X")[0].endswith(".ema")] == [
        ([f"{each}.ema"], [f"{each}_fp32_master_0"]) for each in names
    ]


def test_a_type_without_a_shadow_is_refused_and_the_program_stays_as_it_was(built):
    parameters = [replace(p, dtype="float8_e4m3fn") for p in backend().parameters(built.main)[:1]]
    before = str(built.main)
    with pytest.raises(AverageError, match="is float8_e4m3fn; averages cover float16, bfloat16, float32, float64: exclude it"):
        appended(built.main, built.startup, Rule(Constant(0.9)), parameters)
    assert str(built.main) == before
