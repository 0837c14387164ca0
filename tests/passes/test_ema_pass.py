"""The EMA passes against float64 numpy on the recorded trajectory of every variable."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.appended import appended
from support.kernels import paddle_kernels

from ppema.averaging.decay import FLOATS, Constant, ThresSteps
from ppema.averaging.rule import Rule
from ppema.errors import AverageError
from ppema.ir import backend, scope

pytestmark = pytest.mark.usefixtures("kernels")

TWICE = ThresSteps(0.97, lambda n: 2 * n)


def apply(built, name, schedule):
    with built.guard():
        return appended(built.main, built.startup, Rule(schedule), name=name)


class Oracle:
    """The average in float64: Σ w_i θ_i / Σ w_i with w_i = (1 - d_i) Π_{j>i} d_j, from the definition, not the update."""

    def __init__(self, schedule):
        self._schedule = schedule
        self._values: list[dict[str, np.ndarray]] = []

    def see(self, values):
        self._values.append({name: value.astype("float64") for name, value in values.items()})

    def average(self):
        decays = [self._schedule(float(n), 1, FLOATS) for n in range(len(self._values))]
        weights = [(1 - d) * np.prod(decays[i + 1 :]) for i, d in enumerate(decays)]
        return {
            name: sum(w * values[name] for w, values in zip(weights, self._values, strict=True)) / sum(weights)
            for name in self._values[0]
        }


@pytest.mark.parametrize("schedule", [Constant(0.9), Constant(0.0), Constant(0.99999), ThresSteps(0.999), TWICE])
def test_every_variable_has_its_weighted_mean(built, schedule):
    built.minimize()
    average = apply(built, "ema", schedule)
    built.start()
    oracle = Oracle(schedule)
    for _ in range(60):
        built.run(fetch=[built.loss])
        oracle.see({name: scope.get(built.scope, name) for name in average.shadow_of})
    for name, expected in oracle.average().items():
        got = scope.get(built.scope, average.shadow_of[name])
        assert np.linalg.norm(got - expected) <= 1e-6 * np.linalg.norm(expected), name
    assert scope.get(built.scope, average.count) == 60
    decays = np.array([schedule(float(n), 1, FLOATS) for n in range(60)])
    np.testing.assert_allclose(scope.get(built.scope, average.weight), 1 - np.prod(decays), rtol=1e-12)


def test_the_first_update_is_the_value_itself_bit_for_bit(built):
    built.minimize()
    average = apply(built, "ema", Constant(0.9999))
    built.start()
    built.steps(1)
    for name, shadow in average.shadow_of.items():
        assert scope.get(built.scope, name).tobytes() == scope.get(built.scope, shadow).tobytes()


def test_averages_do_not_disturb_each_other_or_the_training(built):
    """Two averages in one program equal each one alone, and the weights equal those without averages, bit for bit."""
    make = type(built)

    def trained(*names):
        made = make()
        made.minimize()
        averages = [apply(made, name, {"a": Constant(0.9), "b": ThresSteps(0.99)}[name]) for name in names]
        made.start()
        made.steps(10)
        raw = {p.name: p.name for p in backend().parameters(made.main)}
        read = [raw, *(average.shadow_of for average in averages)]
        return [{name: scope.get(made.scope, held).tobytes() for name, held in each.items()} for each in read]

    raw, a, b = trained("a", "b")
    assert trained() == [raw]
    assert trained("a") == [raw, a]
    assert trained("b") == [raw, b]


def test_a_taken_name_is_refused_and_the_program_stays_as_it_was(built):
    built.minimize()
    apply(built, "ema", Constant(0.9))
    before = str(built.main)
    with pytest.raises(AverageError, match="already has '.*.ema', as the average 'ema' would name one"):
        apply(built, "ema", Constant(0.9))
    assert str(built.main) == before


def test_the_pass_only_appends(built):
    """All former operations are still there, in their order. The only new ones, at the end, are the update."""
    built.minimize()
    before = [op.kind for op in backend().operations(built.main)]
    with paddle_kernels():
        average = apply(built, "ema", Constant(0.9))
    after = list(backend().operations(built.main))
    # PIR declares each new variable by an operation in front of all others.
    declared = [op.kind for op in after].index(before[0], len(average.state_names) if after[0].kind == "data" else 0)
    assert {op.kind for op in after[:declared]} <= {"data"}
    assert [op.kind for op in after[declared : declared + len(before)]] == before
    update = after[declared + len(before) :]
    shadows = sorted(average.shadow_of.values())
    assert sorted(name for op in update for name in op.writes if name in shadows) == shadows
    assert {name for op in update for name in op.writes} >= set(average.state_names)
    assert {op.kind.rstrip("_") for op in update} <= {
        *("cast", "full", "fill_constant", "scale", "multiply", "add", "subtract", "divide", "sgd", "assign", "assign_out"),
        *("maximum", "elementwise_mul", "elementwise_add", "elementwise_sub", "elementwise_div", "elementwise_max"),
    }


def test_counters_are_not_averaged():
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        zero = paddle.nn.initializer.Constant(0)
        paddle.static.create_parameter([1], paddle.int64, name="seen", default_initializer=zero)
    assert [(p.name, p.dtype, p.averaged) for p in backend().parameters(main)] == [("seen", "int64", False)]
