"""The C++ operations against numpy in float64."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppema.averaging.decay import FLOATS, Constant, HalfLife, InverseGamma, PowerFunction
from ppema.averaging.precision import compensated
from ppema.averaging.rule import Rule
from ppema.ir import NativeOp, backend, scope
from ppema.ir.native import why_missing
from ppema.passes.ema import UpdatePass, declare
from ppema.passes.target import TrainProgram

built = pytest.mark.skipif(why_missing() is not None, reason=f"there are no C++ operations: {why_missing()}")

# Enough elements for several threads, and sizes that are not multiples of a block.
SHAPES = {"a": [7, 4099], "b": [], "c": [3], "d": [257, 129, 3]}


class Moving:
    """A program that only updates averages, of variables that a test sets."""

    def __init__(self, dtypes=("float32", "float32", "float64", "float32"), **covers):
        main, startup = paddle.static.Program(), paddle.static.Program()
        self.dtypes = dict(zip(SHAPES, dtypes, strict=True))
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
            for name, shape in SHAPES.items():
                paddle.static.create_parameter(shape, self.dtypes[name], name=name)
            parameters = {each.name: each for each in backend().parameters(main)}
            target = TrainProgram(main, startup)
            for average, (names, rule) in covers.items():
                declare(target, average, rule, [parameters[name] for name in names])
            UpdatePass().apply(target)
        self.main, self.averages = main, target.averages
        self.scope, self._executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
        with paddle.static.scope_guard(self.scope):
            self._executor.run(startup)

    def step(self, rng) -> dict[str, np.ndarray]:
        values = {name: rng.normal(size=shape).astype(self.dtypes[name]) for name, shape in SHAPES.items()}
        scope.put(self.scope, values)
        with paddle.static.scope_guard(self.scope):
            self._executor.run(self.main)
        return values

    def counts(self) -> list[int]:
        return [scope.get(self.scope, each.count).item() for each in self.averages.values()]

    def shadow(self, average: str, name: str) -> np.ndarray:
        return scope.get(self.scope, self.averages[average].shadow_of[name])


@built
def test_several_averages_of_different_weights_are_one_operation():
    rules = {
        "all": (list(SHAPES), Rule(InverseGamma(0.99))),
        "few": (["d", "b"], Rule(HalfLife(3.0), start=4, update_every=2)),
        "last": (["c", "a"], Rule(PowerFunction(3.0))),
    }
    moving, rng, seen = Moving(**rules), np.random.default_rng(0), []
    kinds = [op.kind.rstrip("_") for op in backend().operations(moving.main)]
    assert kinds.count("ppema_average") == 1 and "sgd" not in kinds
    for _ in range(11):
        seen.append(moving.step(rng))
        for average, (names, rule) in rules.items():
            for name in names:
                expected = by_definition(rule, [values[name].astype("float64") for values in seen])
                got = moving.shadow(average, name)
                assert got.dtype == moving.dtypes[name]
                bound = 1e-12 if got.dtype == np.float64 else 1e-6
                assert np.linalg.norm(got - expected) <= bound * np.linalg.norm(expected), (average, name, len(seen))


def by_definition(rule, values):
    """The weighted mean of the rule's observations in `values`; before the first, the value at the last update."""
    every = rule.update_every
    taken = [t for t in range(1, len(values) + 1) if t % every == 0 and t >= rule.first]
    if not taken:
        followed = [t for t in range(1, len(values) + 1) if t % every == 0 or t == 1]
        return values[followed[-1] - 1]
    total, weight = 0.0, 0.0
    for t in taken:
        d = rule.schedule(float(t - rule.first), rule.interval, FLOATS)
        total, weight = d * total + (1 - d) * values[t - 1], d * weight + (1 - d)
    return total / weight


@built
def test_a_compensated_average_has_the_bits_of_the_formula():
    moving, rng = Moving(ema=(["a", "c"], Rule(Constant(0.999), precision="compensated"))), np.random.default_rng(1)
    state = {name: (np.zeros(SHAPES[name], moving.dtypes[name]),) * 2 for name in ("a", "c")}
    weight = 0.0
    for _ in range(20):
        values = moving.step(rng)
        weight = 0.999 * weight + (1 - 0.999)
        for name, (shadow, rest) in state.items():
            alpha = np.asarray((1 - 0.999) / weight, moving.dtypes[name])
            state[name] = compensated(shadow, rest, values[name], alpha)
            assert moving.shadow("ema", name).tobytes() == state[name][0].tobytes()


@built
def test_the_first_update_is_the_weights_bit_for_bit():
    moving = Moving(ema=(list(SHAPES), Rule(Constant(0.9))))
    values = moving.step(np.random.default_rng(2))
    for name, value in values.items():
        assert moving.shadow("ema", name).tobytes() == value.tobytes()


EXTREMES = {
    "float32": (3.4e38, -1e-45, 0.0),
    "float64": (1.7e308, -5e-324, 0.0),
    "float16": (65504.0, -6e-8, 0.0),
}


@built
@pytest.mark.parametrize("dtype", EXTREMES)
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_finite_finds_each_bad_number_and_no_other(dtype, bad):
    rng = np.random.default_rng(3)
    arrays = [np.full(shape, 1, dtype) for shape in ([33, 5003], [], [7])]
    for array in arrays:
        array.reshape(-1)[: len(EXTREMES[dtype])] = EXTREMES[dtype][: array.size]
    main = paddle.static.Program()
    with paddle.static.program_guard(main):
        fed = [paddle.static.data(f"x{index}", list(array.shape), dtype) for index, array in enumerate(arrays)]
        results = {"each": ([len(fed)], "bool"), "every": ([], "bool")}
        each, every = backend().append_native_op(NativeOp("ppema_finite", {"values": fed}, results))
    executor = paddle.static.Executor(paddle.CPUPlace())

    def check() -> tuple[list[bool], bool]:
        flags, flag = executor.run(main, {f"x{i}": array for i, array in enumerate(arrays)}, [each, every])
        return flags.tolist(), bool(flag)

    assert check() == ([True, True, True], True)
    for index, array in enumerate(arrays):
        place = rng.integers(array.size)
        kept, array.reshape(-1)[place] = array.reshape(-1)[place], bad
        assert check() == ([other != index for other in range(3)], False)
        array.reshape(-1)[place] = kept


@built
@pytest.mark.parametrize("name", ["a", "a.all"])
@pytest.mark.parametrize("other", [np.zeros([7, 4099], "float64"), np.zeros([7], "float32")])
def test_tensors_of_another_form_are_refused(name, other):
    """A variable that a user set to a tensor of another form is refused, and its memory is not read as the declared type."""
    moving = Moving(all=(list(SHAPES), Rule(Constant(0.9))))
    rng = np.random.default_rng(0)
    moving.step(rng)
    before = moving.counts()
    scope.tensor(moving.scope, name).set(other, paddle.CPUPlace())
    with pytest.raises(Exception, match="a weight and its average differ in type or size: one of them was set to another"):
        with paddle.static.scope_guard(moving.scope):
            moving._executor.run(moving.main)
    assert moving.counts() == before
