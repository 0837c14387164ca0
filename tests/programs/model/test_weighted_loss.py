"""A loss whose mean is a ratio of sums, in training and in evaluations: labels that are ignored, and class weights."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.configs import SMALL, data_section, write_config
from support.exact import log_softmax

from ppema.config import load_config
from ppema.evaluation.evaluate import evaluate
from ppema.evaluation.prepared import prepare_evaluation
from ppema.ir import scope
from ppema.training.setup import prepare_training

LABELS = np.array([0, 1, 255, 2, 1, 255, 255, 255, 0, 2, 2, 255])
X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
LOSS = "{name: cross_entropy, args: {class_weights: [1, 2, 0.5], ignore_index: 255}}"


def by_hand(weight, bias):
    """Σ w·nll / Σ w over the labels that count."""
    counts = LABELS != 255
    w = np.array([1, 2, 0.5])[LABELS[counts]]
    nll = -log_softmax(X[counts].astype("float64") @ weight + bias)[np.arange(counts.sum()), LABELS[counts]]
    return (w * nll).sum() / w.sum()


def test_the_mean_is_exact_in_training_and_for_every_batch_size(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=LABELS)
    spec = f"{{name: npz, path: {tmp_path / 'd.npz'}, inputs: [x], target: y, batch_size: 12}}"
    model = "{name: mlp, args: {in_features: 4, num_classes: 3, hidden: []}}"
    sections = {"model": model, "data": data_section(spec, spec), "loss": LOSS, "metrics": "[]", "train": "{epochs: 1}"}
    file = write_config(tmp_path / "c.yml", SMALL, **sections, lr="0.1")
    run = prepare_training(load_config(file, [f"output={tmp_path / 'run'}"]))
    raw = run.read()["raw"]
    expected = by_hand(*(raw[run.programs.model.structured[name]] for name in ("1.weight", "1.bias")))
    with paddle.static.scope_guard(run.scope):
        (batch,) = run.train_loader.epoch(0)
        feed = run.programs.model.inputs.feed(batch, run.train_loader)
        (trained,) = run.executor.run(run.programs.train, feed, [run.programs.loss])
    assert trained == pytest.approx(expected, rel=1e-5)
    for size in (1, 5):
        other = prepare_evaluation(load_config(file, [f"data.eval.batch_size={size}"]))
        scope.put(other.scope, raw)
        with paddle.static.scope_guard(other.scope):
            found = evaluate(other.executor, other.model.test, other.model.inputs, other.eval_loader)
        assert found == {"loss": pytest.approx(expected, rel=1e-6)}
