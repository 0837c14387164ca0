"""The update rules of the fused operation: Paddle's bits on numbers of all sizes, and the formulas in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import paddle
import pytest

from ppema.averaging.decay import Constant
from ppema.averaging.rule import Rule
from ppema.ir import backend, scope
from ppema.ir.native import why_missing
from ppema.passes.ema import EmaPass, UpdatePass
from ppema.passes.fused.fuse import FusePass
from ppema.passes.target import TrainProgram, apply_passes
from ppema.programs.step import BackwardPass, OptimizePass

pytestmark = pytest.mark.skipif(why_missing() is not None, reason=f"there are no C++ operations: {why_missing()}")

# Around the widths of vectors (8 and 16) and the sizes of blocks (512 in Paddle, 2,048 in ppema). The sum is worth threads.
SIZES = (1, 7, 15, 16, 17, 511, 513, 2047, 2048, 2049, 40_001)
UNDECAYED = 513  # by Lamb
STEPS = 12
RATE, DECAY, BETA1, BETA2, EPSILON = 0.01, 0.02, 0.8, 0.99, 1e-8


def sgd(p, g, state, step):
    return p - RATE * (g + DECAY * p)


def momentum(p, g, state, step):
    state["v"] = 0.9 * state.get("v", 0) + g
    return p - RATE * state["v"]


def nesterov(p, g, state, step):
    """Sutskever et al. 2013, as in Paddle: the step that the velocity would make next."""
    g = g + DECAY * p
    state["v"] = 0.9 * state.get("v", 0) + g
    return p - RATE * (g + 0.9 * state["v"])


def adam(p, g, state, step):
    """Kingma and Ba 2015, algorithm 1."""
    state["m"] = BETA1 * state.get("m", 0) + (1 - BETA1) * g
    state["v"] = BETA2 * state.get("v", 0) + (1 - BETA2) * g**2
    unbiased = state["m"] / (1 - BETA1**step), state["v"] / (1 - BETA2**step)
    return p - RATE * unbiased[0] / (np.sqrt(unbiased[1]) + EPSILON)


def adamw(p, g, state, step):
    """Loshchilov and Hutter 2019, algorithm 2, where Paddle's decay is multiplied by the rate."""
    return adam(p, g, state, step) - RATE * DECAY * p


def lamb(p, g, state, step):
    """You et al. 2020, algorithm 2, with the identity for the function of the norm. Paddle: Adam for weights without decay."""
    if p.size == UNDECAYED:
        return adam(p, g, state, step)
    change = (p - adam(p, g, state, step)) / RATE + DECAY * p
    return p - RATE * np.linalg.norm(p) / np.linalg.norm(change) * change


def undecayed(parameter):
    return parameter.name == f"w{UNDECAYED}"


OPTIMIZERS = {
    sgd: lambda: paddle.optimizer.SGD(RATE, weight_decay=DECAY),
    momentum: lambda: paddle.optimizer.Momentum(RATE, 0.9),
    nesterov: lambda: paddle.optimizer.Momentum(RATE, 0.9, use_nesterov=True, weight_decay=DECAY),
    adam: lambda: paddle.optimizer.Adam(RATE, BETA1, BETA2, EPSILON),
    adamw: lambda: paddle.optimizer.AdamW(RATE, BETA1, BETA2, EPSILON, weight_decay=DECAY),
    lamb: lambda: paddle.optimizer.Lamb(RATE, DECAY, BETA1, BETA2, EPSILON, exclude_from_weight_decay_fn=undecayed),
}


class Weights:
    """A train program whose weights, one of each size, get gradients that are fed."""

    def __init__(self, optimizer, *, fused):
        main, startup = paddle.static.Program(), paddle.static.Program()
        with backend().fresh_names(), paddle.static.program_guard(main, startup):
            weights = [paddle.static.create_parameter([size], "float32", name=f"w{size}") for size in SIZES]
            fed = [paddle.static.data(f"g{size}", [size]) for size in SIZES]
            loss = paddle.add_n([paddle.sum(w * g) for w, g in zip(weights, fed, strict=True)])
            own = optimizer()
            passes = [
                BackwardPass(own),
                *([FusePass(own, branch="a test")] if fused else []),
                OptimizePass(own),
                EmaPass("ema", Rule(Constant(0.9))),
                UpdatePass(),
            ]
            apply_passes(TrainProgram(main, startup, loss), passes)
        self.main, self._startup, self.names = main, startup, backend().state_names(main)
        self.kinds = [op.kind.removesuffix("_") for op in backend().operations(main)]
        self._executor = paddle.static.Executor(paddle.CPUPlace())

    def train(self, begin, gradients) -> dict[str, np.ndarray]:
        """The state after steps with `gradients`, each a dict by size, from weights `begin`."""
        where = paddle.static.Scope()
        with paddle.static.scope_guard(where):
            self._executor.run(self._startup)
            scope.put(where, {f"w{size}": value for size, value in begin.items()})
            runner = backend().runner(self._executor, where, self.main, [])
            for each in gradients:
                runner.run({f"g{size}": value for size, value in each.items()})
        return {name: scope.get(where, name) for name in self.names}


def ordinary(seed):
    return np.random.default_rng(seed).normal(size=sum(SIZES))


def extreme(seed):
    """Zeros of both signs, and numbers from 1e-45, the smallest denormal float32, to 1e14: each element has its magnitude."""
    magnitudes = 10.0 ** np.random.default_rng(99).integers(-45, 15, sum(SIZES))
    generator = np.random.default_rng(seed)
    numbers = generator.normal(size=sum(SIZES)) * magnitudes
    return np.where(generator.random(numbers.size) < 0.1, np.copysign(0.0, numbers), numbers)


def by_size(numbers) -> dict[int, np.ndarray]:
    parts = np.split(numbers.astype("float32"), np.cumsum(SIZES)[:-1])
    return dict(zip(SIZES, parts, strict=True))


@dataclass(frozen=True)
class Trained:
    rule: Callable
    begin: dict[int, np.ndarray]
    gradients: list[dict[int, np.ndarray]]
    expected: dict[str, np.ndarray]  # by Paddle's operation
    found: dict[str, np.ndarray]
    extreme_expected: dict[str, np.ndarray]
    extreme_found: dict[str, np.ndarray]


@pytest.fixture(scope="module", params=OPTIMIZERS, ids=lambda rule: rule.__name__)
def trained(request):
    by_paddle, fused = (Weights(OPTIMIZERS[request.param], fused=fused) for fused in (False, True))
    assert "ppema_step" in fused.kinds and "ppema_step" not in by_paddle.kinds
    begin, *gradients = (by_size(ordinary(seed)) for seed in range(STEPS + 1))
    first = [each.train(begin, gradients) for each in (by_paddle, fused)]
    other, *extremes = (by_size(extreme(seed)) for seed in range(STEPS + 1))
    return Trained(request.param, begin, gradients, *first, *(each.train(other, extremes) for each in (by_paddle, fused)))


def differing(expected, found) -> list[str]:
    assert list(found) == list(expected)
    return [name for name in found if found[name].tobytes() != expected[name].tobytes()]


def test_a_rule_has_the_bits_of_paddles_operation(trained):
    assert differing(trained.expected, trained.found) == []


def test_a_rule_has_these_bits_also_with_denormal_and_huge_numbers(trained):
    assert differing(trained.extreme_expected, trained.extreme_found) == []
    numbers = np.concatenate([each.ravel() for each in trained.extreme_found.values() if each.dtype == np.float32])
    assert np.isfinite(numbers).all()
    assert ((numbers != 0) & (np.abs(numbers) < np.finfo("float32").tiny)).any()


def test_a_rule_follows_its_formula(trained):
    for size in SIZES:
        begin = trained.begin[size].astype("float64")
        expected, state = begin, {}
        for step, each in enumerate(trained.gradients, 1):
            expected = trained.rule(expected, each[size].astype("float64"), state, step)
        # A step rounds the weight by at most 2^-24 of it, and several times its change, which is RATE times a small number.
        allowed = STEPS * (2**-24 * np.maximum(np.abs(begin), np.abs(expected)) + 2**-20 * RATE)
        np.testing.assert_array_less(np.abs(trained.found[f"w{size}"] - expected), allowed)
