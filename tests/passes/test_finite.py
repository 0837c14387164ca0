"""The Finite pass: a run with a non-finite loss, gradient or statistic is skipped and does not affect later runs."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.appended import guarded_by
from support.device import device_place

from ppema.averaging.decay import Constant, HalfLife
from ppema.averaging.rule import Rule
from ppema.errors import ConfigError
from ppema.ir import backend, scope
from ppema.optimizers.optimizer import OPTIMIZERS
from ppema.passes.ema import EmaPass, UpdatePass
from ppema.passes.switch import SwitchPass
from ppema.passes.target import TrainProgram, apply_passes

pytestmark = pytest.mark.usefixtures("kernels")

BAD = [np.nan, np.inf, -np.inf]
# Optimizers that require an argument besides the rate.
ARGUMENTS = {"ASGD": {"batch_num": 2}}
AVERAGES = {
    "none": (),
    "plain": (EmaPass("ema", Rule(Constant(0.9))), UpdatePass()),
    "interval": (
        EmaPass("ema", Rule(HalfLife(3.0), start=2, update_every=3)),
        EmaPass("wide", Rule(Constant(0.99), precision="compensated")),
        UpdatePass(),
    ),
    "switch": (EmaPass("ema", Rule(Constant(0.9))), UpdatePass(), SwitchPass("ema", 2, 0.5)),
}


def optimizer(name="Momentum", **given):
    rate = paddle.optimizer.lr.ExponentialDecay(0.05, 0.99)
    return OPTIMIZERS[name](rate, **ARGUMENTS.get(name, {}), **given)


def guarded(built, chosen, passes=(), order=()):
    """Apply the pass to the fixture's program and run the startup program. Returns the guard."""
    with built.guard():
        guard = guarded_by(built.main, built.startup, built.loss, chosen, passes, order)
    built.start()
    return guard


def ungated(built, chosen, passes=()):
    with built.guard():
        chosen.minimize(built.loss)
        apply_passes(TrainProgram(built.main, built.startup), passes)
    built.start()


def state(built, guard=None):
    """The bytes of every persistable variable except the guard's own."""
    names = set(backend().state_names(built.main)) - {guard.state_name if guard else None}
    return {name: scope.get(built.scope, name).tobytes() for name in names}


def spoiled(feed, value):
    return {**feed, "images": np.where(np.arange(36).reshape(6, 6) == 20, np.float32(value), feed["images"])}


def step(built, guard, feed):
    loss, finite = built.run(fetch=[built.loss, guard.finite], feed=feed)
    return float(loss), bool(finite)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_runs_that_are_finite_give_the_same_bytes_as_without_it_and_others_change_none(built, name):
    """The optimizers clip and decay weights as far as they can, and their accumulators have the same names."""
    other, clip = type(built)(), paddle.nn.ClipGradByGlobalNorm(0.5)
    decay = {} if name in ("Lamb",) else {"weight_decay": 0.01}
    guard = guarded(built, optimizer(name, grad_clip=clip, **decay), AVERAGES["interval"])
    ungated(other, optimizer(name, grad_clip=clip, **decay), AVERAGES["interval"])
    for value in (None, *BAD):
        before = state(built, guard)
        if value is not None:
            assert not step(built, guard, spoiled(built.feed(), value))[1]
            assert state(built, guard) == before
        feed = built.feed()
        assert step(built, guard, feed)[1]
        other.run(fetch=[other.loss], feed=feed)
        assert state(built, guard) == state(other) != before


@pytest.mark.parametrize(
    ("averages", "bad"),
    [
        ("none", (3,)),
        ("plain", (0, 1)),
        ("interval", (0, 1)),
        ("interval", (3,)),
        ("interval", (1, 4, 5)),
        ("switch", (1, 4, 5)),
    ],
    ids=str,
)
def test_what_follows_is_as_if_it_had_never_been(built, averages, bad):
    """The state equals that of a program without the pass and without those batches, bit for bit.

    It includes BatchNorm's statistics and all averages.
    """
    other = type(built)()
    guard = guarded(built, optimizer("AdamW"), AVERAGES[averages])
    ungated(other, optimizer("AdamW"), AVERAGES[averages])
    for run in range(9):
        feed = built.feed()
        if run in bad:
            assert not step(built, guard, spoiled(feed, BAD[run % 3]))[1]
        else:
            assert step(built, guard, feed)[1]
            other.run(fetch=[other.loss], feed=feed)
        assert state(built, guard) == state(other)


def test_a_statistic_that_overflows_is_enough(built):
    """A single 1e20 makes the variance infinite and normalises to 0, so loss and gradients are finite."""
    guard = guarded(built, optimizer(), AVERAGES["plain"])
    assert step(built, guard, built.feed())[1]
    before = state(built, guard)
    loss, stepped = step(built, guard, spoiled(built.feed(), 1e20))
    assert np.isfinite(loss) and not stepped
    assert guard.culprit(scope.get(built.scope, guard.state_name)) == ("statistic", "batch_norm2d_0.w_2")
    assert state(built, guard) == before
    assert step(built, guard, built.feed())[1]
    assert all(np.isfinite(scope.get(built.scope, name)).all() for name in backend().state_names(built.main))


@pytest.mark.parametrize("value", [np.nan, 1e20])
@pytest.mark.parametrize("kind", ["cond", "while"])
def test_statistics_written_inside_branches_are_put_back(kind, value):
    """The statistics are large, so a branch that did not wait for their copies would overtake them.

    With 1e20 only statistics are non-finite, and their check has to wait for the branch too.
    """
    main, startup, size = paddle.static.Program(), paddle.static.Program(), 400_000
    executor, where = paddle.static.Executor(device_place()), paddle.static.Scope()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        x = paddle.static.data("x", [2, size], "float32")
        weight = paddle.static.create_parameter([1], "float32", name="w")
        norm = paddle.nn.BatchNorm1D(size, weight_attr=False, bias_attr=False)
        if kind == "cond":
            taken = paddle.static.nn.cond(paddle.static.data("flag", [], "bool"), lambda: norm(x).sum(), lambda: x.sum())
        else:
            flag = paddle.static.data("flag", [], "bool")
            _, taken = paddle.static.nn.while_loop(
                lambda go, total: go, lambda go, total: [paddle.logical_not(go), total + norm(x).sum()], [flag, x.sum()]
            )
        taken.stop_gradient = True
        loss = (weight * taken).sum()
        chosen = paddle.optimizer.SGD(0.1)
        guard = guarded_by(main, startup, loss, chosen)
    good = np.random.default_rng(0).normal(size=(2, size)).astype("float32")
    bad = good.copy()
    bad[0, 7] = value
    with paddle.static.scope_guard(where):
        executor.run(startup)
        for run in range(6):
            before = {
                name: scope.get(where, name).tobytes() for name in backend().state_names(main) if name != guard.state_name
            }
            feed = {"x": bad if run % 2 else good, "flag": np.array(True)}
            (ran,) = executor.run(main, feed=feed, fetch_list=[guard.finite])
            assert bool(ran) == (run % 2 == 0)
            same = {name for name, value in before.items() if scope.get(where, name).tobytes() == value}
            assert same == (set(before) if run % 2 else {"learning_rate_0"}), run


SHAPES = {"a": [3, 2], "b": [], "c": [5]}


class Direct:
    """A program that is fed its gradients: the loss is Σ w_i·g_i + c, with weights of three shapes, all `initial`."""

    def __init__(self, chosen, dtype="float32", initial=1.0):
        self.main, self.startup = paddle.static.Program(), paddle.static.Program()
        self.scope, self.executor = paddle.static.Scope(), paddle.static.Executor(device_place())
        self.dtype = dtype
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(self.main, self.startup):
            total = paddle.static.data("extra", [], dtype)
            for name, shape in SHAPES.items():
                value = paddle.nn.initializer.Constant(initial)
                weight = paddle.static.create_parameter(shape, dtype, name=name, default_initializer=value)
                total = total + (weight * paddle.static.data(f"d{name}", shape, dtype)).sum()
            self.guard = guarded_by(self.main, self.startup, total, chosen, order=sorted(SHAPES))
        with paddle.static.scope_guard(self.scope):
            self.executor.run(self.startup)

    def run(self, extra=0.0, **values):
        """One run with `extra` as c and gradients of zeros, except for `values`, each (index, value). Returns `finite`."""
        feed = {"extra": np.array(extra, self.dtype)}
        for name, shape in SHAPES.items():
            feed[f"d{name}"] = np.zeros(shape, self.dtype)
            if name in values:
                index, value = values[name]
                feed[f"d{name}"][index] = value
        with paddle.static.scope_guard(self.scope):
            return bool(self.executor.run(self.main, feed=feed, fetch_list=[self.guard.finite])[0])

    def culprit(self):
        return self.guard.culprit(scope.get(self.scope, self.guard.state_name))

    def weights(self):
        return np.concatenate([scope.get(self.scope, name).reshape(-1) for name in SHAPES])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_exact(dtype):
    """The largest numbers count as finite, though their sum and squares overflow. A single non-finite number is found."""
    # Weights of zero make the loss zero.
    direct, large = Direct(paddle.optimizer.SGD(0.0), dtype, initial=0.0), np.finfo(dtype).max
    assert direct.run(a=(..., large), b=((), -large), c=(slice(1, 4), large), extra=-large)
    assert direct.run(a=((0, 0), 1e30), c=(2, -1e30))
    assert direct.run(a=((1, 1), np.finfo(dtype).smallest_subnormal))
    for value in BAD:
        for name, index in (("a", (0, 0)), ("a", (2, 1)), ("b", ()), ("c", 4)):
            assert not direct.run(**{name: (index, value)})
            assert direct.culprit() == ("gradient", name)
    assert not direct.run(b=((), np.nan), c=(1, np.inf))
    assert direct.culprit() == ("gradient", "b")
    assert direct.weights().tolist() == [0.0] * 12


def test_a_loss_that_is_not_finite_is_enough():
    direct = Direct(paddle.optimizer.SGD(1.0))
    for value in BAD:
        assert not direct.run(extra=value, a=((0, 0), 1.0))
        assert direct.culprit() is None
    assert direct.weights().tolist() == [1.0] * 12
    assert direct.run(a=((0, 0), 0.5))
    assert direct.weights().tolist() == [0.5, *[1.0] * 11]


def test_a_norm_that_overflows_in_clipping_is_no_reason_to_skip():
    """The squares of finite gradients overflow: Paddle clips by c/∞ to zero, and only momentum moves the weights."""
    direct = Direct(paddle.optimizer.Momentum(1.0, 0.5, grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0)))
    assert direct.run(a=((0, 0), 1.0))
    assert direct.run(a=((0, 0), 1e30), c=(0, -1e30))
    assert direct.weights().tolist() == [1.0 - 1.0 - 0.5, *[1.0] * 11]


def test_one_bad_gradient_does_not_spread_by_clipping():
    direct = Direct(paddle.optimizer.SGD(1.0, grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0)))
    assert not direct.run(b=((), np.inf))
    assert direct.culprit() == ("gradient", "b")
    assert direct.weights().tolist() == [1.0] * 12


@pytest.mark.parametrize("sparse", [True, False])
def test_the_gradient_of_an_embedding(sparse):
    main, startup = paddle.static.Program(), paddle.static.Program()
    executor, where = paddle.static.Executor(device_place()), paddle.static.Scope()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        words, by = paddle.static.data("words", [-1], "int64"), paddle.static.data("by", [-1, 4], "float32")
        loss = (paddle.nn.Embedding(10, 4, sparse=sparse)(words) * by).sum()
        chosen = paddle.optimizer.SGD(1.0)
        guard = guarded_by(main, startup, loss, chosen)
    with paddle.static.scope_guard(where):
        executor.run(startup)
        for bad in (None, *BAD):
            before = scope.get(where, "embedding_0.w_0")
            by = np.ones((3, 4), "float32")
            if bad is not None:
                by[1, 2] = bad
            feed = {"words": np.array([7, 2, 7]), "by": by}
            assert bool(executor.run(main, feed=feed, fetch_list=[guard.finite])[0]) == (bad is None)
            after = scope.get(where, "embedding_0.w_0")
            moved = before - after
            expected = np.zeros((10, 4))
            expected[[2, 7]] = [[1.0], [2.0]] if bad is None else 0.0
            np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_an_optimizer_that_can_not_take_a_sparse_gradient_is_refused():
    """Paddle 3's static graph has no sparse gradients. On 2.6 AdamW would end the process at the first step."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        loss = paddle.nn.Embedding(10, 4, sparse=True)(paddle.static.data("words", [-1], "int64")).sum()
        chosen = paddle.optimizer.AdamW(1.0)
        gradients = chosen.backward(loss)
        if "SELECTED_ROWS" not in str(getattr(gradients[0][1], "type", "")):
            pytest.skip("this Paddle makes it dense")
        said = "name: the gradient of embedding_0.w_0 is sparse, which Paddle 2.6 can give to SGD, Momentum, Adagrad, Adam, "
        with pytest.raises(ConfigError, match=said):
            backend().update_of(main, chosen, gradients)


def test_the_first_in_the_order_that_it_was_given(built):
    names = [each.name for each in backend().parameters(built.main) if each.trainable]
    guard = guarded(built, optimizer(), order=sorted(names))
    assert guard.variables == ("batch_norm2d_0.b_0", "batch_norm2d_0.w_0", "conv2d_0.b_0", "conv2d_0.w_0", *guard.variables[4:])
    assert not step(built, guard, spoiled(built.feed(), np.nan))[1]
    flags = scope.get(built.scope, guard.state_name)
    assert guard.statistics == ("batch_norm2d_0.w_1", "batch_norm2d_0.w_2")
    assert flags.shape == (len(guard.variables) + 2 + 1,)
    assert guard.culprit(flags) == ("gradient", guard.variables[int(np.argmin(flags))])
