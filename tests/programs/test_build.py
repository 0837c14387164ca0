"""The programs of a config: test programs that change nothing, and averages with the right values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paddle
import pytest
from support.configs import config
from support.runs import state_bytes, steps

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.state import BEGINNING
from ppema.errors import ConfigError
from ppema.evaluation.evaluate import evaluate
from ppema.ir import backend, scope
from ppema.ir.native import why_missing
from ppema.training.setup import prepare_training
from ppema.training.stepper import Stepper

UPDATES = {"ppema_step"} if why_missing() is None else {"momentum", "sgd"}


def writers(operations):
    """The kinds of operations that write a persistable variable. In a test program only BatchNorm's may, switched off."""
    return {op.kind.rstrip("_") for op in operations if op.writes or op.kind.endswith("_")}


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("model={name: support.models.Nested, args: {classes: 10}}",),
        ("model={name: paddle.vision.models.mobilenet_v3_small, args: {num_classes: 10}}", "data={train: {name: synthetic, "
         "samples: 8, shape: [3, 32, 32], classes: 10, batch_size: 4}, eval: {name: synthetic, samples: 4, shape: [3, 32, 32], "
         "classes: 10, batch_size: 4}}"),
    ],
    ids=["cnn", "nested", "mobilenet"],
)  # fmt: skip
def test_every_test_program_is_one(overrides):
    """No gradient, no update, no optimizer, no random number. Every switch, at any depth, is set to test."""
    run = prepare_training(config(*overrides))
    trains = {op.kind.rstrip("_") for op in backend().operations(run.programs.train)}
    assert trains >= UPDATES
    assert list(run.programs.tests) == ["raw", "ema", "fast_start"]
    for test in run.programs.tests.values():
        operations = list(backend().operations(test.program))
        assert writers(operations) <= {"batch_norm"}
        assert [op for op in operations if "grad" in op.kind] == []
        assert {op.is_test for op in operations} == {None, True}
        assert [op for op in operations if op.kind.startswith(("uniform", "gaussian", "bernoulli"))] == []
        normalised = [op for op in operations if op.kind.rstrip("_") == "batch_norm"]
        assert normalised and all(op.is_test for op in normalised)


def test_the_proof_would_see_a_train_program():
    operations = list(backend().operations(prepare_training(config()).programs.train))
    assert writers(operations) >= UPDATES
    assert [op for op in operations if "grad" in op.kind]
    assert False in {op.is_test for op in operations}


def test_each_test_program_reads_its_own_variables():
    run = prepare_training(config())
    raw = {parameter.name for parameter in backend().parameters(run.programs.tests["raw"].program)}
    assert raw == {parameter.name for parameter in run.programs.model.parameters}
    for name, average in run.programs.averages.items():
        assert set(backend().state_names(run.programs.tests[name].program)) == set(average.shadow_of.values())
        assert set(average.shadow_of) == raw


def test_evaluating_changes_no_byte():
    run = prepare_training(config("model={name: support.models.Nested, args: {classes: 10}}"))
    for _ in steps(run, 5):
        pass
    before = state_bytes(run)
    with paddle.static.scope_guard(run.scope):
        first = [evaluate(run.executor, t, run.programs.model.inputs, run.eval_loader) for t in run.tests.values()]
        again = [evaluate(run.executor, t, run.programs.model.inputs, run.eval_loader) for t in run.tests.values()]
    assert first == again
    assert state_bytes(run) == before


def test_evaluating_a_model_that_always_trains_changes_no_byte():
    """F.dropout and F.batch_norm train by default; a test program switches them off."""
    run = prepare_training(config("model=support.models.AlwaysTraining"))
    before = state_bytes(run)
    with paddle.static.scope_guard(run.scope):
        first, again = (evaluate(run.executor, run.tests["raw"], run.programs.model.inputs, run.eval_loader) for _ in "ab")
    assert first == again
    assert state_bytes(run) == before


def test_dropout_draws_anew_at_every_step():
    """Two steps on one batch with constant weights."""
    run = prepare_training(config("lr=1e-30", "model.args.dropout=0.5", "averages={}", "train.monitor=null"))
    batch = next(run.train_loader.epoch(0))
    with paddle.static.scope_guard(run.scope):
        stepper = Stepper(run, Begun())
        losses = [stepper.run(batch, replace(BEGINNING, step=step)).loss for step in (0, 1, 0)]
    assert losses[0] != losses[1]
    assert losses[0] == losses[2]


@pytest.mark.filterwarnings("ignore:the model's predictions of a sample depend")
@pytest.mark.parametrize("precision", ["float32", "compensated"])
def test_statistics_written_inside_branches_are_averaged_as_they_are_written(precision):
    """An update that reads them before the branch has run would lag a step, differently in every run."""
    averages = f"averages={{ema: {{decay: 0.8, precision: {precision}}}}}"
    run = prepare_training(config("model=support.models.NormInBranch", averages))
    average, trajectory = run.programs.averages["ema"], []
    for _ in steps(run, 60):
        trajectory.append({name: scope.get(run.scope, name).astype("float64") for name in average.shadow_of})
    factors = 0.8 ** np.arange(60)[::-1]
    for name, shadow in average.shadow_of.items():
        expected = sum(f * values[name] for f, values in zip(factors, trajectory, strict=True)) / factors.sum()
        assert np.linalg.norm(scope.get(run.scope, shadow) - expected) <= 1e-6 * np.linalg.norm(expected), name


@pytest.mark.parametrize("model", ["BatchStatistics", "Counter"])
def test_a_model_whose_evaluation_would_change_its_variables_is_refused(model):
    with pytest.raises(ConfigError, match=r"model: in eval mode the model still changes \w+[.\w]* \(\w+ at .*models.py:\d+\)"):
        prepare_training(config(f"model=support.models.{model}"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.args.in_channels=3"], ":5:1: model: "),
        (["model={name: mlp, args: {in_features: 63, num_classes: 10}}"], "override model: "),
        (["model.args.widths=[]"], ":5:20: model.args: ValueError: widths: at least one stage is needed"),
        (["model.args.clases=3"], "model.args.clases: unknown argument of cnn"),
        (["model=cmn"], "override model: model.name: unknown model 'cmn'; did you mean 'cnn'?"),
        (["model=support.models.raising_model"], "override model: model.args: RuntimeError: no weights"),
        (
            ["model=support.models.not_a_layer"],
            "override model: model.name: support.models.not_a_layer returns a int, not a paddle.nn.Layer",
        ),
        (["model=support.models.TwoOutputs"], ": loss.output: the model returns output_0, output_1: choose one"),
        (["model=support.models.Unstable"], "differs in linear_0.b_0"),
        (
            ["model=support.models.AllFrozen"],
            "optimizer: there is nothing to train: the loss depends on no trainable parameter of the model",
        ),
        (["loss=mse"], "override loss: mse expects float32 targets of the predictions' shape"),
        (["metrics=[{name: accuracy, args: {k: 11}}]"], "metrics.0: the top 11 of predictions float32 [N, 10]"),
        (
            ["metrics=[accuracy, support.metrics.macro_f1]"],
            "metrics.1: support.metrics.macro_f1 returns one number for the batch, float32 [], and the mean of such numbers "
            "depends on data.eval.batch_size: return one value per sample, of shape [N]",
        ),
        (
            ["metrics=[support.metrics.f1_for_each]"],
            "metrics.0: f1_for_each of a sample depends on the other samples of its batch, so that its mean depends on "
            "data.eval.batch_size: return one value per sample, of shape [N], each of its own sample alone",
        ),
        (
            ["metrics=[accuracy, support.metrics.of_some]"],
            "metrics.1: of_some of a sample depends on the other samples of its batch",
        ),
        (["optimizer=Momentun"], "optimizer.name: unknown optimizer 'Momentun'; did you mean 'Momentum'?"),
        (["optimizer.args.momentumm=0.9"], "optimizer.args.momentumm: unknown argument of Momentum"),
        (
            ["model={name: support.models.OfType, args: {dtype: float64, classes: 10}}", "optimizer={name: Momentum}"],
            "optimizer: Momentum can not train weight, of type float64, since the learning rate is float32: use SGD, or ",
        ),
        (["optimizer={name: Lamb, weight_decay: 0.1}"], "weight_decay: Lamb takes no weight_decay"),
        (["lr={name: StepDecay, args: {learning_rate: 0.1}}"], "lr.args.step_size: "),
        (["lr={name: StepDecay, args: {learning_rate: 0.1, step_size: 3 weeks}}"], "lr.args.step_size: expected a duration"),
        (
            ["averages.ema.include=[backbone]"],
            "averages.ema.include.0: 'backbone' matches none of the 12 variables, which are ",
        ),
        (["averages.ema.start=200 %"], "averages.ema: it would begin after step 2761, and the run ends after step 1380"),
        (["averages.ema.update_every=2000"], "averages.ema: it would begin after step 2000, and the run ends after step 1380"),
        (
            ["averages.ema={decay: 0.9, update_every: 5, overwrite_every: 3 steps}"],
            "averages.ema.overwrite_every: overwrite_every",
        ),
        (["averages.ema.overwrite_every=2000 steps"], "averages.ema.overwrite_every: the first would come after step 2000"),
        (
            ["averages.ema.reference_batch=999999999999999"],
            "averages.ema.reference_batch: the training batch is 3.2e-14 times reference_batch",
        ),
        (
            ["train.epochs=999999999999999"],
            "override train.epochs: 999999999999999 epochs of 46 steps are more than 1e15 steps",
        ),
        (["train.monitor=ema/acuracy"], "train.monitor: 'acuracy' is not measured; measured are loss, accuracy"),
        (
            ["train.monitor=raw/confusion_matrix", "metrics=[accuracy, confusion_matrix]"],
            "train.monitor: 'confusion_matrix' is an array, not a number; numbers are loss, accuracy",
        ),
        (["data.eval.drop_last=true"], "data.eval.drop_last: an evaluation covers every sample"),
        (["data.eval={name: synthetic, samples: 4, shape: [3], classes: 2, batch_size: 4}"], "override data.eval: "),
    ],
)
def test_what_can_not_be_built_is_one_line(overrides, said):
    with pytest.raises(ConfigError) as caught:
        prepare_training(config(*overrides))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_length_that_float64_can_not_tell_from_forever_is_one_line():
    with pytest.raises(ConfigError, match="averages.ema: ValueError: the decay is 1 in float64, an average that never moves"):
        prepare_training(config("averages={ema: {half_life: 1e15 epochs}}"))


def test_variables_that_no_gradient_reaches_are_named():
    unused = ("model={name: support.models.WithUnusedHead, args: {features: 64, classes: 10}}", "loss.output=used")
    unused = (*unused, "metrics=[]", "train.monitor=raw/loss")
    said = "the loss does not depend on unused.bias, unused.weight: no step changes these variables"
    with pytest.warns(UserWarning, match=said):
        run = prepare_training(config(*unused))
    assert "2 gradients, none of unused.bias, unused.weight" in [each.result for each in run.programs.passes]
    run = prepare_training(config(*unused, "groups=[{match: ^unused, frozen: true}]"))
    assert "2 gradients" in [each.result for each in run.programs.passes]
