"""One operation for the step beside Paddle's optimizer and the update of averages: the same variables with the same bits."""

from __future__ import annotations

import functools

import numpy as np
import paddle
import pytest

from ppema.averaging.decay import Constant, HalfLife
from ppema.averaging.rule import Rule
from ppema.ir import backend, scope
from ppema.ir.native import origin, why_missing
from ppema.ir.updates.fusable import why_unknown
from ppema.ir.updates.update import OptimizerUpdate
from ppema.passes.accumulate import AccumulatePass, StepPass
from ppema.passes.accumulation import feed_of
from ppema.passes.ema import EmaPass, UpdatePass
from ppema.passes.finite import FinitePass
from ppema.passes.fused.fuse import FusePass
from ppema.passes.loss_scaling.scaling import AdjustScalePass, ScaleLossPass, UnscalePass
from ppema.passes.select import Selection
from ppema.passes.target import TrainProgram, apply_passes
from ppema.programs.step import BackwardPass, OptimizePass

pytestmark = pytest.mark.skipif(why_missing() is not None, reason=f"there are no C++ operations: {why_missing()}")

STEPS = 40
# A non-finite run at the first step, twice in a row, and before and after an average begins.
SKIPPED = {0: np.nan, 7: np.inf, 8: np.nan, 15: 1e30, 30: -np.inf}
AVERAGES = (
    EmaPass("plain", Rule(Constant(0.9))),
    EmaPass("sum", Rule(Constant(0.99), start=5, update_every=3, precision="compensated"), Selection(batch_norm="copy")),
    EmaPass("given", Rule(lambda t, interval, ops: ops.constant(0.5) + t * ops.constant(0.001), bias_correction=False)),
    EmaPass("few", Rule(HalfLife(4.0)), Selection(include=("linear",))),
)
OPTIMIZERS = {
    "sgd": lambda: paddle.optimizer.SGD(rate(), weight_decay=0.01),
    "momentum": lambda: paddle.optimizer.Momentum(rate(), 0.9),
    "nesterov": lambda: paddle.optimizer.Momentum(rate(), 0.8, use_nesterov=True, weight_decay=0.02),
    "adam": lambda: paddle.optimizer.Adam(rate(), beta2=0.99, weight_decay=0.01, grad_clip=paddle.nn.ClipGradByNorm(0.2)),
    "adamw": lambda: paddle.optimizer.AdamW(rate(), apply_decay_param_fun=lambda name: "b_0" not in name, weight_decay=0.1),
    "lamb": lambda: paddle.optimizer.Lamb(rate(), 0.02, exclude_from_weight_decay_fn=lambda each: "b_0" in each.name),
    "clipped": lambda: paddle.optimizer.Momentum(rate(), 0.9, grad_clip=paddle.nn.ClipGradByGlobalNorm(0.1)),
}


def rate():
    return paddle.optimizer.lr.ExponentialDecay(0.001, 0.97)


class Net(paddle.nn.Layer):
    """It uses one layer twice, two weights only as a sum, and BatchNorm also in a branch."""

    def __init__(self):
        super().__init__()
        self.first, self.twice = paddle.nn.Linear(6, 300), paddle.nn.Linear(300, 300)
        self.norm, self.inner = paddle.nn.BatchNorm1D(300), paddle.nn.BatchNorm1D(300)
        self.left, self.right = (self.create_parameter([300, 2]) for _ in range(2))

    def forward(self, x):
        hidden = self.twice(paddle.nn.functional.relu(self.twice(self.norm(self.first(x)))))
        branched = paddle.static.nn.cond(paddle.sum(x) > 0, lambda: self.inner(hidden), lambda: hidden * 0.5)
        return paddle.matmul(branched, self.left + self.right)


class Trained:
    """A guarded train program with several averages. fuse: the FusePass's settings; None: there is none.

    every: the number of runs in a step.
    """

    def __init__(self, optimizer, fuse=None, averages=AVERAGES, scaled=False, every=1):
        main, startup = paddle.static.Program(), paddle.static.Program()
        main.random_seed = startup.random_seed = 5
        with backend().fresh_names(), paddle.static.program_guard(main, startup):
            net, x = Net(), paddle.static.data("x", [None, 6])
            weight = paddle.cast(paddle.shape(x)[0], "float32") if every > 1 else None
            target = self.target = TrainProgram(main, startup, paddle.mean(net(x) ** 2), weight=weight)
            # Computed before the step, whenever that is: no gradient depends on it.
            before = paddle.sum(net.left) + paddle.sum(net.first.weight)
            net.first.weight.optimize_attr["learning_rate"] = 0.3
            net.twice.weight.regularizer = paddle.regularizer.L2Decay(0.05)
            own = optimizer()
            passes = [
                *([ScaleLossPass(4.0)] if scaled else []),
                BackwardPass(own),
                *([UnscalePass()] if scaled else []),
                *([AccumulatePass(every)] if every > 1 else []),
                *([FusePass(own, **fuse)] if fuse is not None else []),
                FinitePass(),
                *([StepPass()] if every > 1 else []),
                OptimizePass(own),
                *([AdjustScalePass(every=3)] if scaled else []),
                *averages,
                UpdatePass(),
            ]
            apply_passes(target, passes)
        gradients = [] if every > 1 else [gradient for _, gradient in target.gradients]
        self.main, self.every, self.names = main, every, backend().state_names(main)
        self.fetched = [target.loss, target.guard.finite, before, *gradients]
        self.scope, self._executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
        self.reports = {each.name: each.result for each in target.done}
        with paddle.static.scope_guard(self.scope):
            self._executor.run(startup)

    def run(self, steps, into=None) -> list[list[bytes]]:
        """The bytes of what each run returned. into: the scope; None: its own."""
        where = into or self.scope
        with paddle.static.scope_guard(where):
            runner = backend().runner(self._executor, where, self.main, self.fetched)
            made = []
            for step in steps:
                x = np.random.default_rng(step).normal(size=(9 - step % self.every, 6)).astype("float32")
                x[0, 0] = SKIPPED.get(step, x[0, 0])
                place = step % self.every
                ends = feed_of(begins=place == 0, ends=place == self.every - 1) if self.every > 1 else {}
                made.append([np.asarray(each).tobytes() for each in runner.run({"x": x, **ends})])
                self.main.lr_scheduler.step()
            return made

    def state(self, where=None) -> dict[str, bytes]:
        return {name: scope.get(where or self.scope, name).tobytes() for name in self.names}


def visible(returned: list[list[bytes]]) -> list[list[bytes]]:
    """What runs returned; on Paddle 2.6 without the gradients, which its own operations clip and decay in place."""
    return returned if type(backend()).__name__ == "Pir" else [each[:3] for each in returned]


def differing(left: Trained, right: Trained, where=None) -> list[str]:
    assert left.names == right.names
    own, other = left.state(), right.state(where)
    return [name for name in left.names if own[name] != other[name]]


def kinds(trained: Trained) -> list[str]:
    return [op.kind.removesuffix("_") for op in backend().operations(trained.main)]


@pytest.fixture(scope="module", params=list(OPTIMIZERS))
def plain(request):
    trained = Trained(OPTIMIZERS[request.param])
    returned = trained.run(range(STEPS))
    return request.param, trained, returned


@pytest.mark.parametrize("branch", [None, "a test"])
def test_all_variables_have_the_bits_of_the_step_by_paddle(plain, branch):
    name, expected, returned = plain
    fused = Trained(OPTIMIZERS[name], {"branch": branch})
    found = fused.run(range(STEPS))
    assert [step for step in range(STEPS) if found[step][1] == b"\0"] == list(SKIPPED)
    assert visible(found) == visible(returned)
    assert differing(expected, fused) == []
    inside = kinds(fused)
    assert inside.count("ppema_step") == 1 and not {"ppema_average", "momentum", "sgd", "adam", "adamw", "lamb"} & set(inside)
    decays = {round(each.numbers[0], 4) for each in fused.target.fusion.updates}
    assert decays == {"sgd": {0.01, 0.05}, "adam": {0.01, 0.05}, "nesterov": {0.02, 0.05}}.get(name, {0.0, 0.05})
    assert all((each.factor is not None) == (name == "clipped") for each in fused.target.fusion.updates)


def test_a_run_goes_on_with_either_program(plain):
    name, expected, _ = plain
    if name != "nesterov":
        pytest.skip("one optimizer is enough")
    first, second = Trained(OPTIMIZERS[name], {}), Trained(OPTIMIZERS[name])
    first.run(range(STEPS // 2))
    for _ in range(STEPS // 2):
        second.main.lr_scheduler.step()
    second.run(range(STEPS // 2, STEPS), first.scope)
    assert differing(expected, second, first.scope) == []


@pytest.mark.parametrize(
    ("name", "branch"), [("sgd", ""), ("adamw", ""), ("clipped", "in a branch, for clipping after accumulation")]
)
def test_a_step_of_several_runs_has_the_bits_of_the_one_by_paddle(name, branch):
    """Skipped runs are the first, the last and one in the middle of their steps."""
    plain, fused = (Trained(OPTIMIZERS[name], fuse, AVERAGES[:2], every=3) for fuse in (None, {}))
    for steps in (range(10), range(10, 11), range(11, 33)):
        assert plain.run(steps) == fused.run(steps)
        assert differing(plain, fused) == []
    assert fused.reports["fuse"].endswith(branch)


def test_sgd_without_averages_in_a_branch_is_left_to_paddle():
    """The operation would write no variable but weights there, which Paddle does not see as an effect."""
    optimizer = functools.partial(paddle.optimizer.SGD, rate(), grad_clip=paddle.nn.ClipGradByGlobalNorm(0.1))
    trained = Trained(optimizer, {"averages": False}, [], every=3)
    assert trained.reports["fuse"] == "no: SGD has no state, and there is no average"
    trained.run(range(4))


def test_a_loss_scale_is_adjusted_without_a_branch():
    pair = [Trained(OPTIMIZERS["momentum"], fuse, AVERAGES[:1], scaled=True) for fuse in (None, {})]
    assert visible(pair[0].run(range(12))) == visible(pair[1].run(range(12)))
    assert differing(*pair) == []


def test_the_operation_reports_what_it_trains_and_writes():
    fused = Trained(OPTIMIZERS["momentum"], {})
    (op,) = (each for each in backend().operations(fused.main) if "ppema_step" in each.kind)
    trained = {parameter.name for parameter, _ in fused.target.gradients}
    assert set(op.trains) == trained and op.depth == 0
    kept = {each.name for each in fused.target.guard.moved} | {"finite.flags"}
    state = {name for name in fused.names if ".w_0_velocity" in name or ".b_0_velocity" in name or "velocity" in name}
    averaged = {name for each in fused.target.averages.values() for name in (*each.shadow_of.values(), *each.rest_of.values())}
    counts = {name for each in fused.target.averages.values() for name in (each.count, each.weight)}
    assert set(op.writes) == trained | kept | state | averaged | counts
    assert fused.reports["fuse"] == "optimizer and averages in one C++ operation, without a branch"
    assert fused.reports["update averages"] == f"4 in the operation of the optimizer, {origin()}"


class Own(paddle.optimizer.Momentum):
    pass


class OwnClip(paddle.nn.ClipGradByNorm):
    pass


class OwnDecay(paddle.regularizer.L2Decay):
    pass


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (lambda: paddle.optimizer.Momentum(0.1), None),
        (lambda: Own(0.1), "the optimizer is Own"),
        (lambda: paddle.optimizer.RMSProp(0.1), "the optimizer is RMSProp"),
        (lambda: paddle.optimizer.Momentum(0.1, multi_precision=True), "Momentum has multi_precision"),
        (lambda: paddle.optimizer.Adam(0.1, lazy_mode=True), "Adam has lazy_mode"),
        (lambda: paddle.optimizer.Momentum(0.1, rescale_grad=0.5), "Momentum has rescale_grad"),
        (lambda: paddle.optimizer.SGD(0.1, grad_clip=OwnClip(1.0)), "the clipping is OwnClip"),
        (lambda: paddle.optimizer.SGD(0.1, weight_decay=OwnDecay(0.1)), "the weight decay is OwnDecay"),
    ],
)
def test_what_the_operation_does_not_know_is_left_to_paddle(optimizer, reason):
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()), paddle.utils.unique_name.guard():
        w = paddle.static.create_parameter([2], "float32")
        v = paddle.static.create_parameter([2], "float64")
        x = paddle.static.data("x", [2])
        target, own = TrainProgram(main, paddle.static.default_startup_program(), loss=x), optimizer()
        assert why_unknown(own, [(w, x)]) == reason
        if reason is None:
            assert why_unknown(own, [(w, x), (w, x)]) == "a weight has two gradients"
            assert why_unknown(own, [(w, x), (v, paddle.static.data("y", [2], "float64"))]) == f"{v.name} is not float32"
            return
        target.gradients, target.minimize = [(w, x)], OptimizerUpdate(own, list)
        assert FusePass(own).apply(target) == f"no: {reason}"
        target.minimize = target.gradients.append
        assert FusePass(own).apply(target) == "no: a pass of yours replaces the update"
        assert target.fusion is None


def test_a_weight_that_another_operation_trains_is_left_to_paddle():
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()), paddle.utils.unique_name.guard():
        w = paddle.static.create_parameter([2], "float32")
        target, own = TrainProgram(main, paddle.static.default_startup_program(), paddle.mean(w)), paddle.optimizer.SGD(0.1)
        BackwardPass(own).apply(target)
        target.minimize(target.gradients)
        assert FusePass(own).apply(target) == f"no: an operation before the optimizer trains {w.name}"
        assert target.fusion is None
