"""Losses of several parts, from a model with two inputs and two outputs and data with two targets."""

from __future__ import annotations

import warnings

import numpy as np
import paddle
import pytest
from support.configs import SMALL, data_section, loader
from support.datasets import TwoTargets

from ppema.data import Field
from ppema.errors import ConfigError
from ppema.evaluation.evaluate import evaluate
from ppema.ir import scope
from ppema.programs.eval_program import build_test_model
from ppema.training.setup import prepare_training

DATA = "\n  inputs: [image, scale]\n  targets: [size, kind]" + data_section(
    "{name: support.datasets.TwoTargets, batch_size: 12}",
    "{name: support.datasets.TwoTargets, args: {samples: 7}, batch_size: 3}",
)
LOSSES = "\n  kind: cross_entropy\n  scale: {name: mse, output: size, target: size, weight: 0.25}"

SECTIONS = {"model": "support.task_models.TwoTasks", "data": DATA, "losses": LOSSES, "metrics": "[]", "train": "{epochs: 2}"}


@pytest.fixture
def written(tmp_path):
    def write(*overrides, **sections):
        return loader(tmp_path, SMALL, **{**SECTIONS, **sections})(*overrides)

    return write


def by_hand(weights, samples):
    """The parts of the loss, [n] float64: cross-entropy of the class, squared error of the size."""
    body, body_bias, kind, kind_bias, size, size_bias = (np.asarray(each, np.float64) for each in weights)
    data = TwoTargets(samples)
    h = np.tanh((data.image * data.scale[:, None]) @ body + body_bias)
    logits = h @ kind + kind_bias
    labels = data.image.argmax(1) % 3
    nll = np.log(np.exp(logits).sum(1)) - logits[np.arange(samples), labels]
    return nll, ((h @ size + size_bias)[:, 0] - data.image.sum(1)) ** 2


def test_the_weighted_sum_is_trained_and_each_part_is_measured(written):
    run = prepare_training(written())
    places = run.programs.model.structured
    names = [places[f"{layer}.{each}"] for layer in ("body", "kind", "size") for each in ("weight", "bias")]
    with paddle.static.scope_guard(run.scope):
        weights = [scope.get(run.scope, name) for name in names]
        (batch,) = run.train_loader.epoch(0)
        feed = run.programs.model.inputs.feed(batch, run.train_loader)
        parts = run.programs.parts
        fetched = run.executor.run(run.programs.train, feed, [run.programs.loss, *parts.values()])
        kind, size = (each.mean() for each in by_hand(weights, 12))
        assert list(parts) == ["loss.kind", "loss.scale"]
        np.testing.assert_allclose(np.array(fetched).ravel(), [kind + 0.25 * size, kind, size], rtol=1e-5)
        after = [scope.get(run.scope, name) for name in names]
        measures = evaluate(run.executor, run.tests["raw"], run.programs.model.inputs, run.eval_loader)
        kind, size = (each.mean() for each in by_hand(after, 7))
        assert list(measures) == ["loss", "loss.kind", "loss.scale"]
        np.testing.assert_allclose(list(measures.values()), [kind + 0.25 * size, kind, size], rtol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["losses.scale.output=sizes"], "losses.scale.output: there is no output 'sizes'; did you mean 'size'?"),
        (["losses.edge=mse"], "losses.edge.output: the model returns kind, size: choose one"),
        (["losses.kind.target=size"], "losses.kind: cross_entropy expects int64 class labels, or probabilities"),
        (["model=support.task_models.OneName"], "forward takes the input image by name, but has no parameter scale"),
        (
            ["train.accumulate=2", "data.train.batch_size=6", "losses.kind={name: cross_entropy, args: {ignore_index: 0}}"],
            "losses.kind: the loss gives weights to its values (class weights or ignore_index), so that the parts of a batch",
        ),
        (["metrics=[accuracy]"], "metrics.0.output: the model returns kind, size: choose one"),
    ],
)
def test_what_does_not_fit_is_one_line(written, overrides, message):
    with pytest.raises(ConfigError) as error:
        prepare_training(written(*overrides))
    assert message in str(error.value) and "\n" not in str(error.value)


FIELDS = (
    Field((4,), "float32", "image"),
    Field((), "float32", "scale"),
    Field((), "float32", "size", is_target=True),
    Field((), "int64", "kind", is_target=True),
)


def warned(config, about, fields=FIELDS):
    """The warnings at set-up that mention `about`. Paddle has warnings of its own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build_test_model(config, fields)
    return [str(each.message) for each in caught if about in str(each.message)]


def ignored(config):
    return warned(config, "ignore_index")


@pytest.mark.parametrize(("accuracy", "count"), [("accuracy", 1), ("{name: accuracy, args: {multilabel: true}}", 0)])
def test_the_largest_of_several_yes_or_no_is_not_a_class_in_silence(written, accuracy, count):
    fields = (Field((4,), "float32", "image"), Field((3,), "float32", "label", is_target=True))
    model = "{name: mlp, args: {in_features: 4, num_classes: 3}}"
    data = DATA.replace("image, scale", "image").replace("size, kind", "label")
    said = (
        "metrics.0: accuracy takes the largest of 3 numbers for the class of a target, and the loss takes each for a yes or "
        "no: for several labels of a sample, use accuracy with args: {multilabel: true}"
    )
    for loss, expected in (("binary_cross_entropy", count), ("cross_entropy", 0)):
        config = written(model=model, data=data, losses=f"{{label: {loss}}}", metrics=f"[{accuracy}]")
        assert warned(config, "metrics.0", fields) == [said] * expected


def test_metrics_that_ignore_other_labels_than_the_loss_are_named(written):
    """The accuracy of the same target is; that of a loss with the same label, and a metric of another target, are not."""
    metrics = "[{name: accuracy, output: kind, target: kind}, {name: mse, output: size, target: size}]"
    losses = LOSSES.replace("cross_entropy", "{name: cross_entropy, args: {ignore_index: 0}}")
    said = "metrics.0: the ignore_index of accuracy is null, and that of the loss on the same target is 0"
    alike = metrics.replace("accuracy,", "accuracy, args: {ignore_index: 0},")
    assert ignored(written(losses=losses, metrics=metrics)) == [said]
    assert ignored(written(losses=losses, metrics=alike)) == []
    assert ignored(written(metrics=metrics)) == []
    (other,) = ignored(written(metrics=alike))
    assert other == "metrics.0: the ignore_index of accuracy is 0, and that of the loss on the same target is null"


def test_an_autoencoder_compares_with_its_input_as_it_was_read(written, tmp_path):
    """One array of a file is input and target; data.normalize applies to the input."""
    x = (3 + 2 * np.random.default_rng(0).normal(size=(10, 4))).astype("float32")
    np.savez(tmp_path / "x.npz", x=x)
    part = f"{{name: npz, path: {tmp_path / 'x.npz'}, inputs: [x], target: x, batch_size: 5}}"
    model = "{name: mlp, args: {in_features: 4, num_classes: 4, hidden: []}}"
    data = data_section(part, part) + "\n  normalize: true"
    run = prepare_training(written(model=model, data=data, losses="{}", loss="mse"))
    with paddle.static.scope_guard(run.scope):
        places = run.programs.model.structured
        weight, bias = (scope.get(run.scope, places[f"1.{each}"]).astype(np.float64) for each in ("weight", "bias"))
        found = evaluate(run.executor, run.tests["raw"], run.programs.model.inputs, run.eval_loader)
    exact = x.astype(np.float64)
    normal = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    assert found["loss"] == pytest.approx(((normal @ weight + bias - exact) ** 2).mean(), rel=1e-5)
