"""Switch EMA: the average overwrites the weights at intervals, and training continues from it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import paddle
import pytest
from support.appended import appended
from support.averages import same, weights
from support.moving import Moving

from ppema.averaging.decay import Constant, HalfLife
from ppema.averaging.rule import Rule
from ppema.errors import AverageError
from ppema.ir import backend, scope
from ppema.passes.ema import EmaPass, UpdatePass
from ppema.passes.switch import SwitchPass
from ppema.passes.target import TrainProgram, apply_passes
from ppema.passes.trained import is_trained

pytestmark = pytest.mark.usefixtures("kernels")

# Settings of an average, and the steps after which it overwrites the weights with every=5.
SETTINGS = [
    ({}, (5, 10, 15)),
    ({"bias_correction": False}, (5, 10, 15)),
    # Updated after 2, 4, 6, ...: the first update from 5 on, 10, and the first from 15 on.
    ({"update_every": 2}, (6, 10, 16)),
    # Updated after 3, 6, 9, ...; the average begins with step 9.
    ({"start": 6, "update_every": 3}, (12, 15)),
    ({"start": 11}, (15,)),
]


def switched(built, switch=None, **settings):
    """The program with the overwriting average between two others, which must not observe the overwritten weights."""
    built.minimize()
    rules = {"before": Rule(Constant(0.9)), "ema": Rule(Constant(0.7), **settings), "after": Rule(HalfLife(4.0))}
    target = TrainProgram(built.main, built.startup)
    with built.guard():
        added = [EmaPass(name, rule) for name, rule in rules.items()]
        apply_passes(target, [*added, UpdatePass(), *([switch] if switch else [])])
    built.start()
    return list(target.averages.values())


def shadows(built, average):
    return {name: scope.get(built.scope, shadow) for name, shadow in average.shadow_of.items()}


@pytest.mark.parametrize(("settings", "steps"), SETTINGS, ids=str)
def test_the_first_step_it_overwrites_after(settings, steps):
    assert SwitchPass("ema", 5).first(Rule(Constant(0.7), **settings)) == steps[0]


@pytest.mark.parametrize(
    ("mix", "settings", "steps"), [*((1.0, *each) for each in SETTINGS), *((0.25, *each) for each in SETTINGS[:4:2])], ids=str
)
def test_it_is_what_one_would_do_by_hand(built, mix, settings, steps):
    """Equal to a program without the pass whose weights are overwritten from outside: bit for bit, averages included."""
    ours, by_hand = built, type(built)()
    _, average, _ = made = switched(ours, SwitchPass("ema", 5, mix), **settings)
    switched(by_hand, **settings)
    for step in range(1, 18):
        feed = ours.feed()
        ours.run(fetch=[ours.loss], feed=feed)
        by_hand.run(fetch=[by_hand.loss], feed=feed)
        if step in steps:
            raw, mean = weights(by_hand), shadows(by_hand, average)
            mixed = {name: raw[name] + np.float32(mix) * (mean[name] - raw[name]) for name in raw}
            scope.put(by_hand.scope, mean if mix == 1 else mixed)
        if mix == 1:
            assert same(weights(ours), weights(by_hand)), step
        else:
            for name, value in weights(ours).items():
                np.testing.assert_allclose(value, scope.get(by_hand.scope, name), rtol=2e-4, atol=2e-6)
    if mix == 1:
        assert all(same(shadows(ours, each), shadows(by_hand, each)) for each in made)


def test_only_steps_count_where_gradients_are_accumulated(built):
    """The weights change only in runs that are steps; the average overwrites them after steps 2, 4, …, once each."""
    with built.guard():
        happens = paddle.static.data("happens", [1], "bool")
        paddle.optimizer.SGD(0.1).minimize(built.loss * paddle.cast(happens, "float32"))
        parameters = [p for p in backend().parameters(built.main) if p.trainable]
        switch = SwitchPass("ema", 2, 0.5)
        appended(built.main, built.startup, Rule(Constant(0.7)), parameters, when=happens, switch=switch)
    built.start()
    seen = []
    for run in range(12):
        built.run(fetch=[built.loss], feed={**built.feed(), "happens": np.array([run % 3 == 0])})
        seen.append(scope.get(built.scope, "linear_0.w_0").tobytes())
    assert [a != b for a, b in pairwise(seen)] == [run % 3 == 0 for run in range(1, 12)]


def test_a_share_of_the_average_in_float64(built):
    """θ + mix·(s - θ) against float64 arithmetic; only an assignment moves the weights."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        theta = paddle.static.create_parameter([3], "float32", name="theta")
        paddle.assign(theta + 1.0, output=theta)
        appended(main, startup, Rule(Constant(0.5)), switch=SwitchPass("ema", 3, 0.25))
    with paddle.static.scope_guard(built.scope):
        built.executor.run(startup)
        scope.put(built.scope, {"theta": np.zeros(3, "float32")})
        for _ in range(3):
            built.executor.run(main)
    # 1, 2 and 3 have the weights 1/8, 1/4 and 1/2.
    mean = (1 + 2 * 2 + 4 * 3) / 7
    np.testing.assert_allclose(scope.get(built.scope, "theta"), np.full(3, 3 + 0.25 * (mean - 3)), rtol=1e-6)


def test_overwritten_weights_are_still_trained(built):
    """Another average may be added after the switch, and a test clone is refused as before."""
    switched(built, SwitchPass("ema", 2))
    assert all(p.trainable for p in backend().parameters(built.main) if not p.name.endswith(("w_1", "w_2")))
    assert is_trained(built.main)


UNITS = {"float16": 2**-10, "bfloat16": 2**-7, "float64": 2**-52}


@pytest.mark.parametrize("mix", [1.0, 0.25])
@pytest.mark.parametrize("dtype", UNITS)
def test_weights_of_another_type_become_the_average_rounded(dtype, mix):
    program = Moving(dtype)
    program.move()
    with program.guard():
        appended(program.main, program.startup, Rule(Constant(0.5)), switch=SwitchPass("ema", 3, mix))
    program.start()
    for _ in range(2):
        program.step(0.25)
    assert program.get("w").tolist() == [1.5] * 5
    program.step(0.25)
    # 1.25, 1.5 and 1.75 have the weights 1/8, 1/4 and 1/2.
    mean = (1.25 + 2 * 1.5 + 4 * 1.75) / 7
    assert scope.dtype(program.scope, "w") == dtype
    np.testing.assert_allclose(program.get("w"), 1.75 + mix * (mean - 1.75), rtol=UNITS[dtype])
    np.testing.assert_allclose(program.get("b"), 1.75 + mix * (mean - 1.75), rtol=2e-7)


@pytest.mark.parametrize("mix", [1.0, 0.25])
def test_master_weights_become_the_average_too(monkeypatch, mix):
    program = Moving("bfloat16", master=True)
    program.move()
    with program.guard(), monkeypatch.context() as patched:
        patched.setattr(paddle, "is_compiled_with_cuda", lambda: True)
        appended(program.main, program.startup, Rule(Constant(0.5)), switch=SwitchPass("ema", 2, mix))
    program.start()
    for value in (2.0, 3.0):
        scope.put(program.scope, {"w_fp32_master_0": np.full(5, value, "float32")})
        program.step(0.1)
    expected = 3 + mix * ((2 + 2 * 3) / 3 - 3)
    np.testing.assert_allclose(program.get("w_fp32_master_0"), expected, rtol=2e-7)
    np.testing.assert_allclose(program.get("w"), expected, rtol=UNITS["bfloat16"])


def test_an_average_that_is_updated_less_often_than_it_overwrites(built):
    with pytest.raises(AverageError, match="overwrite_every is 2 and update_every 5: the average would overwrite"):
        switched(built, SwitchPass("ema", 2), update_every=5)


@pytest.mark.parametrize("settings", [(0, 1.0), (1.5, 1.0), (2, 0.0), (2, 1.5)])
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="expected overwrite_every >= 1 and overwrite_mix in"):
        SwitchPass("ema", *settings)


def test_a_mix_that_float32_has_no_number_for():
    with pytest.raises(ValueError, match=r"^overwrite_mix: expected a number >= 1\.2e-38, as float32 has them, got 1e-50$"):
        SwitchPass("ema", 2, 1e-50)
