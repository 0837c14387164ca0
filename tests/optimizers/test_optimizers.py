"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from support.device import device_place

from ppema.config import Duration
from ppema.config.horizon import Horizon
from ppema.config.sections.named import Optimizer
from ppema.errors import ConfigError
from ppema.ir import backend, scope
from ppema.optimizers.optimizer import OPTIMIZERS, SCHEDULERS, build_lr, build_optimizer, lr_state, rehearse, set_lr_state
from ppema.optimizers.schedules import rates as landmarks


def lr(name, warmup=None, **args):
    """The schedule, with epochs of 10 steps."""
    spec = SimpleNamespace(name=name, args=args, warmup=warmup)
    return build_lr(spec, lambda duration: round(duration.value * {"epochs": 10}.get(duration.unit, 1)), total_steps=30)


def rates(schedule, steps):
    found = []
    for _ in range(steps):
        found.append(schedule())
        schedule.step()
    return found


def test_names_are_paddles_own():
    assert {"SGD", "Momentum", "Adam", "AdamW", "Lamb"} <= set(OPTIMIZERS)
    assert {"CosineAnnealingDecay", "PiecewiseDecay", "ReduceOnPlateau"} <= set(SCHEDULERS)


def test_a_constant_rate():
    assert rates(lr("constant", learning_rate=0.1), 3) == [0.1] * 3


def test_cosine_over_epochs_with_warmup():
    # 0.2·(1 + cos(π k/20))/2, multiplied by 0, 1/4, 2/4 and 3/4 during the warm-up.
    got = rates(
        lr("CosineAnnealingDecay", warmup=SimpleNamespace(value=4, unit="steps"), learning_rate=0.2, T_max="2 epochs"), 20
    )
    expected = [min(1, k / 4) * 0.1 * (1 + np.cos(np.pi * k / 20)) for k in range(20)]
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_durations_inside_lists():
    got = rates(lr("PiecewiseDecay", boundaries=["1 epoch", "12 steps"], values=[1.0, 0.5, 0.1]), 14)
    assert got == [1.0] * 10 + [0.5] * 2 + [0.1] * 2


ARGUMENTS = {
    "NoamDecay": {"d_model": 8, "warmup_steps": "5 steps"},
    "PiecewiseDecay": {"boundaries": ["3 steps", "6 steps"], "values": [0.1, 0.05, 0.01]},
    "NaturalExpDecay": {"learning_rate": 0.1, "gamma": 0.1},
    "InverseTimeDecay": {"learning_rate": 0.1, "gamma": 0.1},
    "PolynomialDecay": {"learning_rate": 0.1, "decay_steps": "8 steps", "cycle": True},
    "LinearWarmup": {"learning_rate": 0.1, "warmup_steps": "5 steps", "start_lr": 0.01, "end_lr": 0.1},
    "ExponentialDecay": {"learning_rate": 0.1, "gamma": 0.9},
    "MultiStepDecay": {"learning_rate": 0.1, "milestones": ["3 steps", "6 steps"]},
    "StepDecay": {"learning_rate": 0.1, "step_size": "4 steps"},
    "ReduceOnPlateau": {"learning_rate": 0.1, "patience": 1},
    "CosineAnnealingDecay": {"learning_rate": 0.1, "T_max": "9 steps"},
    "OneCycleLR": {"max_learning_rate": 0.1, "total_steps": "30 steps"},
    "CyclicLR": {"base_learning_rate": 0.01, "max_learning_rate": 0.1, "step_size_up": "4 steps"},
    "LinearLR": {"learning_rate": 0.1, "total_steps": "9 steps"},
    "CosineAnnealingWarmRestarts": {"learning_rate": 0.1, "T_0": "4 steps", "T_mult": 2},
}
# These schedules take functions, which a config cannot name.
BY_FUNCTION = {"LambdaDecay", "MultiplicativeDecay"}


def test_every_schedule_is_among_the_resumed():
    assert set(SCHEDULERS) <= set(ARGUMENTS) | BY_FUNCTION


@pytest.mark.parametrize("warmup", [None, SimpleNamespace(value=3, unit="steps")], ids=["", "warmup"])
@pytest.mark.parametrize("stop", [1, 7, 13])
@pytest.mark.parametrize("name", sorted(set(ARGUMENTS) & set(SCHEDULERS)))
def test_a_schedule_goes_on_where_it_stopped(name, stop, warmup):
    if warmup is not None and name in ("ReduceOnPlateau", "NoamDecay"):
        pytest.skip("it has no warm-up")
    whole, cut, resumed = (lr(name, warmup=warmup, **ARGUMENTS[name]) for _ in range(3))

    def walk(schedule, first, last):
        found = []
        for step in range(first, last):
            found.append(schedule())
            # Falling and rising losses; the rising ones exhaust ReduceOnPlateau's patience.
            schedule.step(*([abs(step - 9.0)] if name == "ReduceOnPlateau" else []))
        return found

    expected = walk(whole, 0, 25)
    walk(cut, 0, stop)
    set_lr_state(resumed, json.loads(json.dumps(lr_state(cut))))
    assert walk(resumed, stop, 25) == expected[stop:]


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_plateau_whose_best_is_not_finite_goes_on_as_it_was(loss):
    cut, resumed = (lr("ReduceOnPlateau", learning_rate=0.1, patience=1) for _ in range(2))
    cut.step(loss)
    set_lr_state(resumed, json.loads(json.dumps(lr_state(cut), allow_nan=False)))
    assert repr(lr_state(resumed)) == repr(lr_state(cut))
    assert repr(resumed.best) == repr(loss)


def test_the_state_of_another_schedule_is_refused():
    with pytest.raises(ValueError, match="it holds "):
        set_lr_state(lr("StepDecay", **ARGUMENTS["StepDecay"]), lr_state(lr("constant", learning_rate=0.1)))


@pytest.mark.parametrize("forged", [{"last_epoch": None}, {"last_lr": None}, {"last_lr": [1]}, {"base_lr": "fast"}])
def test_a_state_that_is_no_number_is_refused(forged):
    schedule = lr("StepDecay", **ARGUMENTS["StepDecay"])
    with pytest.raises(ValueError, match=f"^{next(iter(forged))}: expected a number, got "):
        set_lr_state(schedule, {**lr_state(schedule), **forged})


def test_a_schedule_that_ends_with_the_run_is_fine_and_one_that_ends_before_is_not():
    lr("OneCycleLR", max_learning_rate=0.1, total_steps="30 steps")
    with pytest.raises(ConfigError, match="args: the schedule fails within the run: ValueError"):
        lr("OneCycleLR", max_learning_rate=0.1, total_steps="28 steps")


def test_a_warmup_moves_no_boundary():
    steps = SimpleNamespace(value=4, unit="steps")
    got = rates(lr("PiecewiseDecay", warmup=steps, boundaries=["6 steps"], values=[1.0, 0.5]), 8)
    assert got == pytest.approx([0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.5])


def test_a_whole_run_with_a_warmup_ends_at_the_end_of_its_schedule():
    """T_max: 100 % and a warm-up of 10 of 30 steps. The last step is one before T_max, where the rate is zero."""
    horizon = Horizon(steps_per_epoch=10, batch_size=8, epochs=3)
    args = {"learning_rate": 0.2, "T_max": "100 %"}
    spec = SimpleNamespace(name="CosineAnnealingDecay", args=args, warmup=Duration(1, "epochs"))
    schedule = build_lr(spec, horizon.steps, horizon.total_steps)
    found = landmarks(schedule, horizon.total_steps)
    # At step 11 a third of the cosine's half period is over: (1 + cos(π/3))/2 = 3/4.
    assert [(each.where, each.step) for each in found] == [("start", 1), ("after the warm-up", 11), ("peak", 11), ("end", 30)]
    assert [each.rate for each in found] == pytest.approx([0, 0.15, 0.15, 0.1 * (1 + np.cos(np.pi * 29 / 30))], rel=1e-12)
    assert schedule.last_epoch == 0
    assert str(found[1]) == "after the warm-up 0.15 (step 11)"
    schedule.step()
    for _ in range(29):
        schedule.step()
    assert schedule() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        (
            "CosineAnnealingDecay",
            {"T_max": 3},
            "args.T_max: it counts steps, and 3 steps are 0.3 epochs: write '3 steps' or '3 epochs'",
        ),
        (
            "StepDecay",
            {"step_size": 25},
            "args.step_size: it counts steps, and 25 steps are 2.5 epochs: write ",
        ),
        ("MultiStepDecay", {"milestones": ["1 epoch", 2]}, "args.milestones.1: it counts steps, and 2 steps are 0.2 epochs: "),
        ("LinearLR", {"total_steps": 4.0}, "args.total_steps: it counts steps, and 4.0 steps are 0.4 epochs: "),
        ("support.schedules.HalvedEvery", {"step_size": 4}, "args.step_size: it counts steps, and 4 steps are 0.4 epochs: "),
        (
            "ReduceOnPlateau",
            {"patience": "3 epochs"},
            "args.patience: it counts evaluations (train.eval_every): write a ",
        ),
    ],
)
def test_lengths_carry_their_unit(name, args, said):
    with pytest.raises(ConfigError) as caught:
        lr(name, learning_rate=0.1, **args)
    assert str(caught.value).startswith(said)


def test_the_peak_of_a_cycle_is_found():
    cycle = {"max_learning_rate": 0.1, "total_steps": "30 steps"}
    found = landmarks(lr("OneCycleLR", **cycle), 30)
    assert [(each.where, each.step) for each in found] == [("start", 1), ("peak", 9), ("end", 30)]
    assert [each.rate for each in found] == pytest.approx([0.1 / 25, 0.1, 1e-4])


def test_a_plateau_has_no_end_to_tell():
    assert [each.where for each in landmarks(lr("ReduceOnPlateau", learning_rate=0.1), 30)] == ["start"]


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        ("CosineDecay", {}, "name: unknown learning-rate schedule 'CosineDecay'; did you mean "),
        ("StepDecay", {"learning_rate": 0.1, "step_sise": 3}, "args.step_sise: unknown argument of StepDecay"),
        ("constant", {"learning_rate": 0.1, "T_max": 3}, "args.T_max: unknown argument of constant"),
        ("paddle.nn.ReLU", {}, "name: paddle.nn.ReLU is not a paddle.optimizer.lr.LRScheduler"),
        ("LambdaDecay", {"learning_rate": 0.1, "lr_lambda": "x"}, "args: TypeError: "),
        ("constant", {"learning_rate": 1e39}, "args: the learning rate is 1e+39 at step 0"),
        ("PiecewiseDecay", {"boundaries": ["2 steps"], "values": [0.1, 1e40]}, "args: the learning rate is 1e+40 at step 2"),
        (
            "CosineAnnealingDecay",
            {"learning_rate": 1e-50, "T_max": "9 steps"},
            "args: the learning rate is at most 1e-50, which is 0 in float32",
        ),
    ],
)
def test_schedules_that_can_not_be_built(name, kwargs, said):
    with pytest.raises(ConfigError) as caught:
        lr(name, **kwargs)
    assert said in str(caught.value)


def test_a_rate_may_fall_below_what_float32_holds():
    schedule = lr("ExponentialDecay", learning_rate=0.1, gamma=1e-10)
    assert rates(schedule, 5)[-1] == pytest.approx(1e-41)
    # As in a run that resumes from there.
    assert rehearse(schedule, 2) == pytest.approx(1e-51)


def test_reduce_on_plateau_has_no_warmup():
    with pytest.raises(ConfigError, match="warmup: ReduceOnPlateau takes no warm-up: evaluations decide"):
        lr("ReduceOnPlateau", warmup=SimpleNamespace(value=4, unit="steps"), learning_rate=0.1)


def one_step(**spec):
    """θ after one step of the optimizer `spec` at rate 0.5 from θ = [3, 4] with gradient [6, 8]."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        initial = paddle.nn.initializer.Assign(np.array([3, 4], "float32"))
        theta = paddle.static.create_parameter([2], "float32", default_initializer=initial)
        settings = Optimizer(**{"name": "SGD", **spec})
        build_optimizer(settings, lr("constant", learning_rate=0.5)).minimize((theta * theta).sum())
    where, executor = paddle.static.Scope(), paddle.static.Executor(device_place())
    with paddle.static.scope_guard(where):
        executor.run(startup)
        executor.run(main)
    return scope.get(where, backend().parameters(main)[0].name).tolist()


def test_weight_decay_and_clipping_do_what_they_say():
    assert one_step() == [0, 0]
    # The gradient gains 0.1·θ.
    np.testing.assert_allclose(one_step(weight_decay=0.1), [3 - 0.5 * 6.3, 4 - 0.5 * 8.4], rtol=1e-6)
    # Its norm is 10; clipped to 5 it is halved.
    np.testing.assert_allclose(one_step(clip_norm=5.0), [3 - 0.5 * 3, 4 - 0.5 * 4], rtol=1e-6)


def test_clipping_is_by_the_norm_of_all_gradients_together():
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        initial = paddle.nn.initializer.Assign
        a = paddle.static.create_parameter([1], "float32", name="a", default_initializer=initial([3.0]))
        b = paddle.static.create_parameter([1], "float32", name="b", default_initializer=initial([4.0]))
        settings = Optimizer(name="SGD", clip_norm=5.0)
        build_optimizer(settings, lr("constant", learning_rate=0.5)).minimize((a * a + b * b).sum())
    where, executor = paddle.static.Scope(), paddle.static.Executor(device_place())
    with paddle.static.scope_guard(where):
        executor.run(startup)
        executor.run(main)
    # The gradients 6 and 8 have norm 10 together. Clipped one by one to 5, they would give 0.5 and 1.5.
    np.testing.assert_allclose([scope.get(where, name)[0] for name in "ab"], [1.5, 2.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"args": {"learning_rate": 0.1}}, "args.learning_rate: "),
        ({"args": {"parameters": []}}, "args.parameters: "),
        ({"name": "Lamb", "weight_decay": 0.1}, "weight_decay: Lamb takes no weight_decay"),
        ({"name": "paddle.nn.Linear", "args": {"in_features": 1, "out_features": 1}}, "learning_rate"),
        ({"name": "AdamW", "args": {"beta1": 2.0}}, "args: "),
    ],
)
def test_optimizers_that_can_not_be_built(spec, said):
    with pytest.raises(ConfigError) as caught:
        one_step(**spec)
    assert said in str(caught.value)
