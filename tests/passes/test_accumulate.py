"""The passes of accumulation: micro-batches make the step of one large batch, and a bad one skips all of its step."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.device import device_place

from ppema.averaging.decay import FLOATS, Constant, HalfLife
from ppema.averaging.rule import Rule
from ppema.ir import backend, scope
from ppema.passes.accumulate import AccumulatePass, StepPass
from ppema.passes.accumulation import feed_of
from ppema.passes.ema import EmaPass, UpdatePass
from ppema.passes.finite import FinitePass
from ppema.passes.switch import SwitchPass
from ppema.passes.target import TrainProgram, apply_passes
from ppema.programs.step import BackwardPass, OptimizePass

pytestmark = pytest.mark.usefixtures("kernels")

CLIP = 0.3
OPTIMIZERS = {
    "sgd": lambda: paddle.optimizer.SGD(0.2),
    "momentum": lambda: paddle.optimizer.Momentum(0.1, 0.9, weight_decay=1e-3, grad_clip=paddle.nn.ClipGradByGlobalNorm(CLIP)),
    "adamw": lambda: paddle.optimizer.AdamW(0.01, weight_decay=0.05, grad_clip=paddle.nn.ClipGradByGlobalNorm(CLIP)),
}
AVERAGES = (
    EmaPass("ema", Rule(Constant(0.9))),
    EmaPass("wide", Rule(HalfLife(5.0), start=2, update_every=3, precision="compensated")),
    UpdatePass(),
    SwitchPass("ema", 7, 0.5),
)


class Micro:
    """A small network and its train program, with steps of `every` micro-batches; 1: of one batch."""

    def __init__(self, optimizer, every, averages=AVERAGES, norm=False):
        main, startup = paddle.static.Program(), paddle.static.Program()
        main.random_seed = startup.random_seed = 3
        self.scope, self._executor = paddle.static.Scope(), paddle.static.Executor(device_place())
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
            images, labels = paddle.static.data("x", [-1, 1, 6, 6]), paddle.static.data("y", [-1], "int64")
            middle = [paddle.nn.BatchNorm2D(4)] if norm else [paddle.nn.ReLU()]
            layers = [paddle.nn.Conv2D(1, 4, 3), *middle, paddle.nn.Flatten(), paddle.nn.Linear(64, 5)]
            loss = paddle.nn.functional.cross_entropy(paddle.nn.Sequential(*layers)(images), labels)
            self.target = TrainProgram(main, startup, loss, weight=paddle.cast(paddle.shape(labels)[0], "float32"))
            gather, step = ([AccumulatePass(every)], [StepPass()]) if every > 1 else ([], [])
            chosen = OPTIMIZERS[optimizer]()
            passes = [BackwardPass(chosen), *gather, FinitePass(), *step, OptimizePass(chosen), *averages]
            apply_passes(self.target, passes)
        self.every = every
        self.names = [each.name for each in backend().parameters(main) if each.trainable]
        with paddle.static.scope_guard(self.scope):
            self._executor.run(startup)

    def run(self, batch, **flags):
        """One run. Returns whether it was finite."""
        fed = batch if self.every == 1 else batch | feed_of(**flags)
        with paddle.static.scope_guard(self.scope):
            (finite,) = self._executor.run(self.target.main, feed=fed, fetch_list=[self.target.guard.finite])
        return bool(finite)

    def step(self, batches):
        """A step of `batches`, up to the first that is not finite, as the loop does."""
        last = len(batches) - 1
        return all(self.run(each, begins=index == 0, ends=index == last) for index, each in enumerate(batches))

    def state(self):
        """All persistable variables except the guard's flags and what lives within a step only."""
        inside = self.target.accumulation.state_names if self.target.accumulation else []
        names = set(backend().state_names(self.target.main)) - {self.target.guard.state_name, *inside}
        return {name: scope.get(self.scope, name) for name in names}

    def inside(self):
        return {name: scope.get(self.scope, name) for name in self.target.accumulation.state_names}

    def weights(self):
        return {name: scope.get(self.scope, name).astype("float64") for name in self.names}


def data(size, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(size, 1, 6, 6)).astype("float32"), "y": rng.integers(0, 5, size)}


def split(batch, sizes):
    ends = np.cumsum(sizes)
    assert ends[-1] == len(batch["y"])
    return [{name: each[end - size : end] for name, each in batch.items()} for size, end in zip(sizes, ends, strict=True)]


def spoiled(batch, value=np.nan):
    return {**batch, "x": np.where(np.arange(36).reshape(6, 6) == 20, np.float32(value), batch["x"])}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_micro_batches_make_the_step_of_one_large_batch(optimizer):
    """12 steps on the same samples, in equal and in unequal parts, and with fewer micro-batches: within 1e-6."""
    large, small = Micro(optimizer, 1), Micro(optimizer, 4)
    parts = [[6, 6, 6, 6], [5, 11, 1, 7], [12, 12], [24]]
    for index in range(12):
        batch = data(24, index)
        assert large.step([batch]) and small.step(split(batch, parts[index % 4]))
    ours, theirs = small.state(), large.state()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-6, err_msg=name)
    assert all(not value.any() for value in small.inside().values())


def test_weights_other_than_the_number_of_samples_count():
    """With SGD, a step moves a weight by the rate times the mean of the gradients, weighted by what `weight` gives."""
    moved = {}
    for weights in ((1.0, 3.0), (0.0, 0.0)):
        main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
            given, slope = paddle.static.data("given", [], "float32"), paddle.static.data("slope", [2], "float32")
            theta = paddle.static.create_parameter([2], "float32", name="theta")
            chosen = paddle.optimizer.SGD(1.0)
            target = TrainProgram(main, startup, (theta * slope).sum(), weight=given)
            apply_passes(target, [BackwardPass(chosen), AccumulatePass(2), FinitePass(), StepPass(), OptimizePass(chosen)])
        executor, where = paddle.static.Executor(device_place()), paddle.static.Scope()
        with paddle.static.scope_guard(where):
            executor.run(startup)
            before = scope.get(where, "theta")
            for index, weight in enumerate(weights):
                fed = {"given": np.float32(weight), "slope": np.float32([index, 1 + index])}
                executor.run(main, feed=fed | feed_of(begins=index == 0, ends=index == 1))
            moved[weights] = before - scope.get(where, "theta")
    np.testing.assert_allclose(moved[1.0, 3.0], [0.75, 1.75], atol=1e-6)
    np.testing.assert_array_equal(moved[0.0, 0.0], [0.0, 0.0])


def test_sparse_gradients_are_summed():
    """The rows of an embedding that only one of two micro-batches holds, as on Paddle 2.6 with `sparse=True`."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        words = paddle.static.data("words", [-1], "int64")
        loss = paddle.nn.Embedding(6, 2, sparse=True)(words).mean()
        target = TrainProgram(main, startup, loss, weight=paddle.cast(paddle.shape(words)[0], "float32"))
        chosen = paddle.optimizer.SGD(1.0)
        apply_passes(target, [BackwardPass(chosen), AccumulatePass(2), FinitePass(), StepPass(), OptimizePass(chosen)])
    executor, where = paddle.static.Executor(device_place()), paddle.static.Scope()
    with paddle.static.scope_guard(where):
        executor.run(startup)
        before = scope.get(where, "embedding_0.w_0")
        executor.run(main, feed={"words": np.array([1, 1, 4])} | feed_of(begins=True, ends=False))
        executor.run(main, feed={"words": np.array([4])} | feed_of(begins=False, ends=True))
        moved = before - scope.get(where, "embedding_0.w_0")
    expected = np.zeros((6, 2))
    expected[[1, 4]] = 2 / 8
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_averages_against_float64():
    """The averages of the weights after each step, of which one was skipped, as the definition gives them."""
    small, seen = Micro("adamw", 3, averages=AVERAGES[:3]), []
    for index in range(14):
        batches = split(data(12, index), [5, 3, 4])
        if index == 6:
            batches[1] = spoiled(batches[1])
        assert small.step(batches) == (index != 6)
        if index != 6:
            seen.append(small.weights())
    for average in small.target.averages.values():
        rule = average.rule
        updates = [t for t in range(1, len(seen) + 1) if t % rule.update_every == 0 or t == 1]
        total, expected = 0.0, dict.fromkeys(small.names, 0.0)
        for t in updates:
            if t < rule.first:
                expected, total = seen[t - 1], 0.0
                continue
            d = rule.schedule(float(t - rule.first), rule.interval, FLOATS)
            total = d * total + 1 - d
            expected = {n: e + (1 - d) / total * (seen[t - 1][n] - e) for n, e in expected.items()}
        assert int(scope.get(small.scope, average.count)) == len(seen) == 13
        assert float(scope.get(small.scope, average.weight)) == pytest.approx(total, rel=1e-12)
        for name, value in expected.items():
            got = scope.get(small.scope, average.shadow_of[name])
            assert np.linalg.norm(got - value) <= 1e-6 * np.linalg.norm(value), (average.name, name)


@pytest.fixture(scope="module")
def undisturbed(kernels):
    """The state after the steps 1, 2 and 5 alone."""
    other = Micro("momentum", 3, norm=True)
    assert all(other.step(split(data(12, index), [4, 4, 4])) for index in (1, 2, 5))
    return {name: each.tobytes() for name, each in other.state().items()}


@pytest.mark.parametrize(("bad", "value"), [(0, np.nan), (0, 1e20), (1, np.inf), (2, np.nan), (2, 1e20)])
def test_a_bad_micro_batch_skips_its_whole_step(undisturbed, bad, value):
    """All state equals, bit for bit, that of a program that never saw the step. 1e20 spoils a statistic of BatchNorm only."""
    ours = Micro("momentum", 3, norm=True)
    for index in range(6):
        batches = split(data(12, index), [4, 4, 4])
        if index in (0, 3, 4):
            before = {name: each.tobytes() for name, each in ours.state().items()}
            batches[bad] = spoiled(batches[bad], value)
            assert not ours.step(batches)
            assert {name: each.tobytes() for name, each in ours.state().items()} == before
            assert all(not ours.inside()[name].any() for name in ours.target.accumulation.sum_of.values())
            assert ours.inside()[ours.target.accumulation.total_name] == 0
        else:
            assert ours.step(batches)
    assert {name: each.tobytes() for name, each in ours.state().items()} == undisturbed


def test_only_the_last_micro_batch_changes_weights_and_averages():
    """BatchNorm's statistics move with every micro-batch; all else waits."""
    small = Micro("momentum", 3, norm=True)
    assert small.step(split(data(12), [4, 4, 4]))
    for index, batch in enumerate(split(data(12, 1), [4, 4, 4])):
        before = small.state()
        assert small.run(batch, begins=index == 0, ends=index == 2)
        after = small.state()
        changed = {name for name, value in before.items() if value.tobytes() != after[name].tobytes()}
        statistics = {"batch_norm2d_0.w_1", "batch_norm2d_0.w_2"}
        assert changed == statistics if index < 2 else {*small.names, "batch_norm2d_0.w_1.ema", "conv2d_0.w_0.ema"} <= changed
