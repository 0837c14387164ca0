"""The averages of the programs that a config builds."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.configs import config
from support.runs import steps

from ppema.evaluation.evaluate import evaluate
from ppema.evaluation.prepared import prepare_evaluation
from ppema.ir import backend, scope
from ppema.training.setup import prepare_training


def test_a_half_life_in_samples_is_not_rounded_to_steps():
    """80 samples are 2.5 steps of 32."""
    run = prepare_training(config("averages={ema: {half_life: 80 samples}}"))
    assert run.programs.averages["ema"].rule.decay_at(7) == pytest.approx(2 ** (-1 / 2.5))


def test_what_never_changes_costs_nothing_and_is_its_own_average():
    run = prepare_training(config("model=support.models.PartlyFrozen"))
    never = {"linear_0.w_0", "batch_norm1d_0.w_1", "batch_norm1d_0.w_2"}
    weights = {parameter.name for parameter in run.programs.model.parameters}
    assert set(run.programs.averages["ema"].shadow_of) == weights - never
    before = {name: scope.get(run.scope, name).tobytes() for name in never}
    for _ in steps(run, 4):
        pass
    assert {name: scope.get(run.scope, name).tobytes() for name in never} == before
    names = set(backend().state_names(run.programs.tests["ema"].program))
    assert names == never | set(run.programs.averages["ema"].shadow_of.values())


def test_with_copied_statistics_a_test_program_reads_the_raw_ones():
    copy = "averages={averaged: {decay: 0.9}, copied: {decay: 0.9, batch_norm: copy}}"
    run = prepare_training(config(copy, "train.monitor=null"))
    for _ in steps(run, 30):
        pass
    statistics = {parameter.name for parameter in run.programs.model.parameters if not parameter.trainable}
    assert statistics <= set(backend().state_names(run.programs.tests["copied"].program))
    # By hand: the averaged weights and the raw statistics, in a separate program.
    other = prepare_evaluation(config())
    raw, shadow_of = run.read()["raw"], run.programs.averages["averaged"].shadow_of
    weights = {name: raw[name] if name in statistics else scope.get(run.scope, shadow_of[name]) for name in raw}
    scope.put(other.scope, weights)
    with paddle.static.scope_guard(other.scope):
        by_hand = evaluate(other.executor, other.model.test, other.model.inputs, other.eval_loader)
    with paddle.static.scope_guard(run.scope):
        inputs, loader = run.programs.model.inputs, run.eval_loader
        found = {name: evaluate(run.executor, test, inputs, loader) for name, test in run.tests.items()}
    assert found["copied"] == by_hand != found["averaged"]


def test_a_clone_keeps_what_opts_out():
    run = prepare_training(config("model=support.models.PartlyAveraged"))
    copy, _ = backend().clone(run.programs.train, [])
    assert [p.name for p in backend().parameters(copy) if not p.averaged] == ["linear_0.b_0"]


def test_do_model_average_opts_out_of_config_runs_too():
    run = prepare_training(config("model=support.models.PartlyAveraged"))
    weights = {parameter.name for parameter in run.programs.model.parameters}
    assert weights - set(run.programs.averages["ema"].shadow_of) == {"linear_0.b_0"}
    for _ in steps(run, 2):
        pass
    with paddle.static.scope_guard(run.scope):
        evaluate(run.executor, run.tests["ema"], run.programs.model.inputs, run.eval_loader)


def test_variables_shared_by_name_are_averaged_once():
    run = prepare_training(config("model=support.models.SharedByName", "averages={ema: {decay: 0.5}}"))
    assert run.programs.averages["ema"].shadow_of["shared"] == "shared.ema"
    values = []
    for _ in steps(run, 3):
        values.append(scope.get(run.scope, "shared").astype("float64"))
    # Weights 1/8, 1/4 and 1/2, with the sum 7/8.
    expected = (values[0] + 2 * values[1] + 4 * values[2]) / 7
    np.testing.assert_allclose(scope.get(run.scope, "shared.ema"), expected, rtol=1e-5, atol=1e-7)


def test_after_200_steps_every_average_is_the_float64_average():
    run = prepare_training(config())
    names = [parameter.name for parameter in run.programs.model.parameters]
    trajectory = []
    for _ in steps(run, 200):
        trajectory.append({name: scope.get(run.scope, name).astype("float64") for name in names})
    for key, average in run.programs.averages.items():
        decays = np.array([run.programs.averages[key].rule.decay_at(n + 1) for n in range(200)])
        factors = (1 - decays) * np.append(np.cumprod(decays[:0:-1])[::-1], 1.0)
        for name in names:
            expected = sum(f * values[name] for f, values in zip(factors, trajectory, strict=True)) / factors.sum()
            error = np.linalg.norm(scope.get(run.scope, average.shadow_of[name]) - expected)
            assert error <= 1e-6 * np.linalg.norm(expected), (key, name)


def test_switch_ema_in_a_config():
    run = prepare_training(config("averages={ema: {decay: 0.9, overwrite_every: 3 steps}, other: {decay: 0.5}}"))
    average, raw = run.programs.averages["ema"], [parameter.name for parameter in run.programs.model.parameters]
    for step, _ in enumerate(steps(run, 7), start=1):
        equal = all(scope.get(run.scope, n).tobytes() == scope.get(run.scope, average.shadow_of[n]).tobytes() for n in raw)
        assert equal == (step in (1, 3, 6))
