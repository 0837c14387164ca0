"""Every schedule inside a program against the definition of the average in float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.appended import appended
from support.device import device_place
from support.fed import SHAPES, Fed, walk

from ppema.averaging.decay import Constant, Exponential, HalfLife, InverseGamma, PowerFunction, ThresSteps
from ppema.averaging.rule import Rule
from ppema.ir import scope

pytestmark = pytest.mark.usefixtures("kernels")

# Each schedule with its decay over k steps, n steps after the average began, written again from the sources.
decays = st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.9999])
SCHEDULES = st.one_of(
    decays.map(lambda d: (Constant(d), lambda n, k: d**k)),
    decays.map(lambda d: (ThresSteps(d), lambda n, k: min(d, (1 + n) / (10 + n)) ** k)),
    st.tuples(decays, st.sampled_from([1.0, 2.5]), st.sampled_from([2 / 3, 3 / 4, 1.0])).map(
        lambda p: (InverseGamma(*p), lambda n, k: (min(p[0], 1 - (1 + n / p[1]) ** -p[2]) if n else 0) ** k)
    ),
    st.sampled_from([0.5, 3, 40, 1e4]).map(lambda h: (HalfLife(h), lambda n, k: 2 ** (-k / h))),
    st.tuples(st.sampled_from([3, 40]), st.sampled_from([0.05, 0.5])).map(
        lambda p: (HalfLife(*p), lambda n, k: 2 ** (-k / min(p[0], p[1] * (n + 1))))
    ),
    st.tuples(decays, st.sampled_from([5.0, 2000.0])).map(
        lambda p: (Exponential(*p), lambda n, k: (p[0] * (1 - math.exp(-(n + 1) / p[1]))) ** k)
    ),
    st.sampled_from([0.0, 0.7, 6.94, 16.97]).map(lambda g: (PowerFunction(g), lambda n, k: (1 - k / (n + k)) ** (g + 1))),
)


PRECISIONS = st.sampled_from(["float32", "compensated"])
# An average: its schedule, every, start, scale, bias correction, precision.
AVERAGE = st.tuples(
    SCHEDULES, st.integers(1, 7), st.integers(0, 60), st.sampled_from([1.0, 0.25, 8.0]), st.booleans(), PRECISIONS
)


def close(got, expected, bound):
    return all(np.linalg.norm(got[name] - expected[name]) <= bound * np.linalg.norm(expected[name]) for name in expected)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(st.lists(AVERAGE, min_size=4, max_size=4), st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_any_settings_and_length(drawn, steps, seed):
    """Four averages in one program, each with settings of its own."""
    rules = {f"average_{index}": rule_of(*each) for index, each in enumerate(drawn)}
    fed, walked = Fed(**rules), []
    for values in walk(seed, steps):
        walked.append(values)
        fed.step(values)
    for (name, rule), ((_, decay_of), *_) in zip(rules.items(), drawn, strict=True):
        # Rounding errors of float32 add up over the updates. With compensation one or two roundings remain.
        bound = 2e-6 if rule.precision == "float32" else 2e-7
        assert close(fed.shadows(name), expected_of(rule, decay_of, walked), bound), name


def rule_of(schedule, every, start, scale, corrected, precision) -> Rule:
    made, _ = schedule
    if isinstance(made, PowerFunction):
        scale = 1.0  # a power function has no decay per step to scale
    return Rule(made, start=start, update_every=every, scale=scale, bias_correction=corrected, precision=precision)


def expected_of(rule, decay_of, walked):
    """The average of the weights of all steps, in float64."""
    every, corrected = rule.update_every, rule.bias_correction
    # The shadow before the average begins: the initial weights, then the weights at the last update.
    before, seen = {name: np.full(shape, 5.0, "float32") for name, shape in SHAPES.items()}, []
    for t, values in enumerate(walked, start=1):
        due = t % every == 0
        if due and t > rule.start:
            seen.append(values)
        elif due or (t == 1 and corrected):
            before = values
    decays = [decay_of(n * every, every * rule.scale) for n in range(len(seen))]
    expected = average_of(seen, decays, None if corrected else before)
    return expected or {name: value.astype("float64") for name, value in before.items()}


def average_of(seen, decays, initial):
    """Σ w_i θ_i / Σ w_i in float64, or Π d_i·initial + Σ w_i θ_i with an initial shadow. None without observations."""
    if not seen:
        return None
    weights = [(1 - d) * math.prod(decays[i + 1 :]) for i, d in enumerate(decays)]
    total = sum(weights) if initial is None else 1.0
    kept = {name: 0.0 if initial is None else math.prod(decays) * initial[name].astype("float64") for name in SHAPES}
    return {
        name: (kept[name] + sum(w * v[name].astype("float64") for w, v in zip(weights, seen, strict=True))) / total
        for name in SHAPES
    }


def test_tensorflows_seed_numbers_without_bias_correction():
    """TensorFlow's documentation: v starts at 0, is set to 10, and the average is 0.0999999 after one update at 0.99."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        zero = paddle.nn.initializer.Constant(0.0)
        paddle.static.create_parameter([1], "float32", name="v", default_initializer=zero)
        appended(main, startup, Rule(Constant(0.99), bias_correction=False))
    where, executor = paddle.static.Scope(), paddle.static.Executor(device_place())
    with paddle.static.scope_guard(where):
        executor.run(startup)
        scope.put(where, {"v": np.array([10.0], "float32")})
        executor.run(main)
    assert scope.get(where, "v.ema")[0] == pytest.approx(0.0999999, abs=1e-7)


@pytest.mark.parametrize("precision", ["float32", "compensated"])
def test_without_bias_correction_the_initial_value_stays_in(precision):
    fed = Fed(
        ema=Rule(Constant(0.9), bias_correction=False, precision=precision),
        sparse=Rule(Constant(0.9), 0, 3, 1.0, False, precision),
    )
    assert {name: value.tolist() for name, value in fed.shadows("ema").items()}["one"] == [5.0]
    seen = list(walk(1, 7))
    for values in seen:
        fed.step(values)
    expected = {name: np.full(shape, 5.0) for name, shape in SHAPES.items()}
    sparse = dict(expected)
    for t, values in enumerate(seen, start=1):
        expected = {name: 0.9 * old + 0.1 * values[name] for name, old in expected.items()}
        if t % 3 == 0:
            sparse = {name: 0.9**3 * old + (1 - 0.9**3) * values[name] for name, old in sparse.items()}
    assert close(fed.shadows("ema"), expected, 1e-6)
    assert close(fed.shadows("sparse"), sparse, 1e-6)


def test_a_larger_batch_takes_the_decay_to_its_power():
    fed = Fed(scaled=Rule(Constant(0.99), scale=4.0), plain=Rule(Constant(0.99**4)))
    for values in walk(2, 20):
        fed.step(values)
    assert close(fed.shadows("scaled"), fed.shadows("plain"), 1e-7)


def test_decay_at_says_what_the_program_does():
    made = Rule(ThresSteps(0.9), start=5, update_every=2)
    # The steps 2 and 4 come before the average begins; n is 0, 2, 4, ... after steps 6, 8, 10, ...
    found = [made.decay_at(step) for step in range(1, 11)]
    assert found == pytest.approx([0] * 5 + [(1 / 10) ** 2] * 2 + [(3 / 12) ** 2] * 2 + [(5 / 14) ** 2])
