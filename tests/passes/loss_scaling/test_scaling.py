"""The passes of the loss scale: exact against programs without them, and its rises and falls against a model of them."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.device import device_place

from ppema.averaging.decay import Constant
from ppema.averaging.rule import Rule
from ppema.ir import backend, scope
from ppema.passes.accumulate import AccumulatePass, StepPass
from ppema.passes.accumulation import feed_of
from ppema.passes.ema import EmaPass, UpdatePass
from ppema.passes.finite import FinitePass
from ppema.passes.loss_scaling.scaling import AdjustScalePass, ScaleLossPass, UnscalePass
from ppema.passes.target import TrainProgram, apply_passes
from ppema.programs.step import BackwardPass, OptimizePass

pytestmark = pytest.mark.usefixtures("kernels")


def step_of(main, startup, loss, optimizer, *, scaled=True, initial=2.0**16, every=2000, most=2.0**24, micro=1):
    """A training step with one average, as `training_step` lists it. micro: its micro-batches, which count the same."""
    target = TrainProgram(main, startup, loss, weight=paddle.full([], 1.0) if micro > 1 else None)
    scale = [ScaleLossPass(initial)], [UnscalePass()], [AdjustScalePass(every, most)]
    before, after, adjust = scale if scaled else ([], [], [])
    gather, branch = ([AccumulatePass(micro)], [StepPass()]) if micro > 1 else ([], [])
    step = [*before, BackwardPass(optimizer), *after, *gather, FinitePass(), *branch, OptimizePass(optimizer), *adjust]
    apply_passes(target, [*step, EmaPass("ema", Rule(Constant(0.9))), UpdatePass()])
    return target


def state(built, target):
    """The bytes of every persistable variable, except the guard's and the scale's."""
    names = set(backend().state_names(built.main)) - {target.guard.state_name}
    return {name: scope.get(built.scope, name).tobytes() for name in names if not name.startswith("loss_scale")}


@pytest.mark.parametrize("name", ["Momentum", "AdamW"])
def test_a_scaled_run_has_the_bits_of_one_without_scale(built, name):
    """Clipping, decay and the average see unscaled gradients. S doubles twice on the way, and a bad batch is skipped."""
    other, targets = type(built)(), []
    for each, scaled in ((built, True), (other, False)):
        clip = paddle.nn.ClipGradByGlobalNorm(0.5)
        optimizer = getattr(paddle.optimizer, name)(0.05, weight_decay=0.01, grad_clip=clip)
        with each.guard():
            targets.append(step_of(each.main, each.startup, each.loss, optimizer, scaled=scaled, every=4, most=2.0**18))
        each.start()
    for run in range(14):
        feed = built.feed()
        if run == 6:
            feed["images"][2, 0, 1, 1] = np.inf
        loss, ran = built.run(fetch=[targets[0].loss, targets[0].guard.finite], feed=feed)
        expected, _ = other.run(fetch=[targets[1].loss, targets[1].guard.finite], feed=feed)
        assert loss.tobytes() == expected.tobytes() and bool(ran) == (run != 6)
        assert state(built, targets[0]) == state(other, targets[1])
    assert scope.get(built.scope, "loss_scale") == 2.0**18


def test_a_scaled_run_with_micro_batches_has_the_bits_of_one_without_scale(built):
    """After each micro-batch, the sums too. S doubles after every second step, and a bad micro-batch skips its step."""
    other, targets = type(built)(), []
    for each, scaled in ((built, True), (other, False)):
        optimizer = paddle.optimizer.Momentum(0.05, 0.9, weight_decay=0.01, grad_clip=paddle.nn.ClipGradByGlobalNorm(0.5))
        with each.guard():
            targets.append(step_of(each.main, each.startup, each.loss, optimizer, scaled=scaled, every=2, micro=3))
        each.start()
    for step in range(6):
        for index in range(3):
            feed = built.feed(4 + index) | feed_of(begins=index == 0, ends=index == 2)
            if bad := (step, index) == (3, 1):
                feed["images"][2, 0, 1, 1] = np.inf
            loss, ran = built.run(fetch=[targets[0].loss, targets[0].guard.finite], feed=feed)
            expected, _ = other.run(fetch=[targets[1].loss, targets[1].guard.finite], feed=feed)
            assert loss.tobytes() == expected.tobytes() and bool(ran) != bad
            assert state(built, targets[0]) == state(other, targets[1])
            # Finite steps: 0, 1, 2, 4, 5. S doubles at the ends of 1 and 4.
            assert scope.get(built.scope, "loss_scale") == 2.0 ** (16 + (step + index / 3 > 1.5) + (step + index / 3 > 4.5))
            if bad:
                break


class Fed:
    """A program that is fed the gradient of a weight [2], and a number that is added to the loss.

    A second weight has the gradient of a square root, which is infinite at 0 though the loss is finite. No weight moves.
    """

    def __init__(self, **settings):
        self._main, startup = paddle.static.Program(), paddle.static.Program()
        self.scope, self._executor = paddle.static.Scope(), paddle.static.Executor(device_place())
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(self._main, startup):
            zero = paddle.nn.initializer.Constant(0.0)
            a, b = (paddle.static.create_parameter([2], "float32", name=name, default_initializer=zero) for name in "ab")
            gradient, extra, root = (paddle.static.data(name, [2], "float32") for name in ("gradient", "extra", "root"))
            loss = (a * gradient + extra + paddle.sqrt(b + root)).sum()
            self._target = step_of(self._main, startup, loss, paddle.optimizer.SGD(0.0), **settings)
        self._run(startup, {}, [])

    def step(self, gradient, extra=0.0, root=1.0, **flags) -> bool:
        """One run. Returns whether it was finite. flags: whether a micro-batch begins and ends its step."""
        values = {"gradient": [gradient, 1.0], "extra": [extra, 0.0], "root": [root, 1.0]}
        feed = {name: np.array(value, "float32") for name, value in values.items()}
        feed |= feed_of(**flags) if flags else {}
        return bool(self._run(self._main, feed, [self._target.guard.finite])[0])

    def _run(self, program, feed, fetch):
        with paddle.static.scope_guard(self.scope):
            return self._executor.run(program, feed=feed, fetch_list=fetch)

    def scale(self) -> tuple[float, int, int]:
        return tuple(scope.get(self.scope, f"loss_scale{each}").item() for each in ("", ".good", ".overflows"))


def test_rises_and_falls_by_hand():
    """A gradient of 1e35 fits into float32 up to S = 2^11."""
    fed = Fed(every=3, most=2.0**12)
    assert [fed.step(1e35) for _ in range(6)] == [False] * 5 + [True]
    assert fed.scale() == (2.0**11, 1, 5)
    assert fed.step(1.0) and fed.scale() == (2.0**11, 2, 5)
    # An infinite loss is no fault of S: nothing changes.
    assert not fed.step(1.0, extra=np.inf) and fed.scale() == (2.0**11, 2, 5)
    assert fed.step(1.0) and fed.scale() == (2.0**12, 0, 5)
    assert [fed.step(1.0) for _ in range(7)] == [True] * 7
    assert fed.scale() == (2.0**12, 1, 5), "S stays at its limit"
    assert not fed.step(1e35) and fed.scale() == (2.0**11, 0, 6)
    # An infinite gradient lowers S to 1, and no further.
    assert [fed.step(1.0, root=0.0) for _ in range(13)] == [False] * 13
    assert fed.scale() == (1.0, 0, 17)


def test_micro_batches_count_as_one_step():
    """An overflow counts once for its step, whose other micro-batches are left out, and begins the count of steps anew."""
    fed = Fed(every=2, initial=2.0**12, micro=3)
    first, middle, end = ({"begins": begins, "ends": ends} for begins, ends in ((True, False), (False, False), (False, True)))
    for each, good in ((first, 0), (middle, 0), (end, 1), (first, 1)):
        assert fed.step(1.0, **each) and fed.scale() == (2.0**12, good, 0)
    assert not fed.step(1e35, **middle) and fed.scale() == (2.0**11, 0, 1)
    for each, scale in ((first, (11, 0)), (end, (11, 1)), (first, (11, 1)), (middle, (11, 1)), (end, (12, 0))):
        assert fed.step(1e35 if each is first else 1.0, **each) and fed.scale() == (2.0 ** scale[0], scale[1], 1)


def test_rises_and_falls_against_a_model_of_them():
    fed, rng = Fed(every=2, most=2.0**6, initial=2.0**4), np.random.default_rng(0)
    scale, good, overflows = 2.0**4, 0, 0
    for _ in range(200):
        gradient = rng.choice([1.0, 1e37, 1e38])
        extra, root = rng.choice([0.0, np.nan], p=[0.9, 0.1]), rng.choice([1.0, 0.0], p=[0.7, 0.3])
        fits = gradient * scale < 3.4e38 and root == 1.0
        assert fed.step(gradient, extra, root) == (fits and extra == 0.0)
        if extra != 0.0:
            continue
        if not fits and scale > 1:
            scale, good, overflows = scale / 2, 0, overflows + 1
        elif fits and good == 1:
            scale, good = min(scale * 2, 2.0**6), 0
        elif fits:
            good += 1
        assert fed.scale() == (scale, good, overflows)
