"""All sides of a benchmark compute the same step: from the same weights, their weights move alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import paddle
import pytest

from benchmarks import dynamic_side, optimizer_side, ours, peer, stock
from benchmarks.paddle_models import Encoder
from benchmarks.subjects import CLASSES, DECAY, MOMENTUM, RATE, SUBJECTS, Subject
from ppema.config import Config
from ppema.ir import backend, scope

STEPS = 3
SMALLER = {name: replace(SUBJECTS[name], batch=4) for name in SUBJECTS if name not in ("mlp", "resnet18-32")}  # ResNet-18 once
needs_torch = pytest.mark.skipif(not peer.has_torch(), reason="torch is not installed: requirements-bench.txt")
needs_jax = pytest.mark.skipif(not peer.has_jax(), reason="jax is not installed: requirements-bench.txt")


class InDouble(Subject):
    """A subject with inputs of float64."""

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        inputs, labels = super().arrays()
        return inputs.astype(np.float64), labels


@contextmanager
def dynamic(name: str) -> Iterator[tuple[Subject, paddle.nn.Layer]]:
    """The subject, or its smaller form, and its model of Paddle without dropout."""
    subject = SUBJECTS[name]
    paddle.disable_static()
    try:
        paddle.seed(0)
        model = dynamic_side.built(name)
        for layer in model.sublayers():
            if isinstance(layer, paddle.nn.Dropout):
                layer.p = 0.0
        yield SMALLER.get(name, subject), model
    finally:
        paddle.enable_static()


def arrays(model: paddle.nn.Layer) -> dict[str, np.ndarray]:
    """Its trained parameters by place."""
    return {place: each.numpy().copy() for place, each in model.named_parameters() if not each.stop_gradient}


def moved_alike(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """The distance between both results, relative to the way that the weights went."""
    assert list(before) == list(after) == list(theirs)
    way = sum(float(((after[each] - before[each]).astype(np.float64) ** 2).sum()) for each in before)
    apart = sum(float(((after[each] - theirs[each]).astype(np.float64) ** 2).sum()) for each in before)
    return (apart / way) ** 0.5


def test_a_step_that_differs_is_seen():
    """The measure of this module: 0 for the same steps, about 1 for a step in another direction or none."""
    before, after = {"w": np.zeros(4)}, {"w": np.array([3.0, 4, 0, 0])}
    assert moved_alike(before, after, after) == 0.0
    assert moved_alike(before, after, before) == 1.0
    assert moved_alike(before, after, {"w": np.array([3.0, 4, 0.5, 0])}) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["mlp", "encoder", "unet"])
def test_our_step_is_that_of_dynamic_mode(name):
    with dynamic(name) as (subject, model):
        before = arrays(model)
        work = dynamic_side.trained(model, subject)
        losses = [work() for _ in range(STEPS)]
        after = arrays(model)
    assert losses[-1] < losses[0]
    with ours.started(Config.model_validate(subject.config({"ema": {"decay": DECAY}}))) as (run, step):
        names = {place: run.programs.model.structured[place] for place in before}
        scope.put(run.scope, {names[place]: array for place, array in before.items()})
        batch = next(iter(run.train_loader.epoch(0)))
        for _ in range(STEPS):
            step(batch)
        found = {place: scope.get(run.scope, names[place]) for place in before}
    assert moved_alike(before, after, found) < 2e-3


@pytest.mark.parametrize("name", ["encoder", "unet"])
def test_our_own_models_answer_for_each_class(name):
    subject = SUBJECTS[name]
    inputs, labels = subject.arrays()
    with stock.program():
        model = dynamic_side.built(name)
        outputs = model(paddle.static.data("x", [2, *subject.shape]))
        assert list(outputs.shape) == [2, CLASSES, *(subject.shape[1:] if subject.dense else ())]
    assert labels.shape == (subject.batch, *(subject.shape[1:] if subject.dense else ()))
    assert inputs.shape == (subject.batch, *subject.shape)
    assert np.bincount(labels.reshape(-1)).min() > 0.5 * labels.size / CLASSES


@pytest.mark.parametrize(
    ("optimizer", "update_every"), [("SGD", 1), ("Momentum", 1), ("Momentum", 2), ("Adam", 1), ("AdamW", 1)]
)
def test_an_optimizer_alone_moves_weights_and_averages(optimizer, update_every):
    """Against float64 numpy, with a gradient of 0.001 for each weight."""
    weight, average, total = 0.5, 0.0, 0.0
    velocity = first = second = 0.0
    for step in range(1, STEPS + 1):
        gradient = optimizer_side.GRADIENT
        velocity = MOMENTUM * velocity + gradient
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        unbiased = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)) ** 0.5 + 1e-8)
        decayed = weight * (1 - RATE * 0.01)
        weight = {
            "SGD": weight - RATE * gradient,
            "Momentum": weight - RATE * velocity,
            "Adam": weight - RATE * unbiased,
            "AdamW": decayed - RATE * unbiased,
        }[optimizer]
        if step % update_every == 0:
            total = DECAY * total + (1 - DECAY)
            average += (1 - DECAY) / total * (weight - average)
    with optimizer_side.optimize([[30, 5], [7]], optimizer, 2, update_every) as work:
        for _ in range(STEPS):
            work()
        here = paddle.static.global_scope()
        for index, shape in enumerate([(30, 5), (7,)]):
            name = f"weights_0.w_{index}"
            assert scope.get(here, name).shape == shape
            np.testing.assert_allclose(scope.get(here, name), weight, rtol=1e-6)
            for each in ("ema0", "ema1"):
                np.testing.assert_allclose(scope.get(here, f"{name}.{each}"), average, rtol=1e-6)
            assert (scope.get(here, f"{name}.given") == np.float32(optimizer_side.GRADIENT)).all()


def parts(name: str, value: np.ndarray) -> list[np.ndarray]:
    """A parameter of PyTorch as Paddle has it: matrices transposed, and those of an attention apart."""
    pieces = np.split(value, 3) if "in_proj_" in name else [value]
    return [piece.T if piece.ndim == 2 else piece for piece in pieces]


def in_their_order(model: object, places: Sequence[str]) -> dict[str, np.ndarray]:
    """The parameters of a model of PyTorch by their places in that of Paddle. Both have them in the same order."""
    found: list[np.ndarray] = []
    named = [(name, each.detach().numpy().copy()) for name, each in model.named_parameters()]
    position = 0
    while position < len(named):
        name, value = named[position]
        if name.endswith("in_proj_weight"):  # the next one is in_proj_bias
            matrices, biases = (parts(*named[position + offset]) for offset in (0, 1))
            found += [each for pair in zip(matrices, biases, strict=True) for each in pair]
            position += 2
        else:
            found += parts(name, value)
            position += 1
    return dict(zip(places, found, strict=True))


@needs_torch
@pytest.mark.parametrize("name", ["mlp", *SMALLER])
def test_the_step_of_torch_is_that_of_dynamic_mode(name):
    """In float64: BatchNorm over few samples amplifies the rounding of float32."""
    import torch

    from benchmarks import torch_side

    torch.manual_seed(0)
    theirs = torch_side.built(name).double()
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    with dynamic(name) as (subject, model):
        subject = InDouble(**vars(subject))
        model.to(dtype="float64")
        before = in_their_order(theirs, list(arrays(model)))
        for place, each in model.named_parameters():
            if place in before:
                assert tuple(each.shape) == before[place].shape, place
                each.set_value(np.ascontiguousarray(before[place]))
        work = dynamic_side.trained(model, subject)
        losses = [work() for _ in range(STEPS)]
        after = arrays(model)
    work = torch_side.trained(theirs, subject)
    np.testing.assert_allclose([work() for _ in range(STEPS)], losses, rtol=1e-6)
    assert moved_alike(before, after, in_their_order(theirs, list(before))) < 1e-6


@needs_torch
@pytest.mark.campaign
@pytest.mark.skipif(not peer.has_compiler(), reason="there is no C++ compiler")
@pytest.mark.parametrize("form", ["compiled", "whole"])
def test_compiled_steps_of_torch_are_the_eager_ones(form):
    from benchmarks import torch_side

    losses = {}
    for each in ("eager", form):
        with torch_side.step("mlp", each) as work:
            losses[each] = [work() for _ in range(5)]
    np.testing.assert_allclose(losses[form], losses["eager"], rtol=1e-5)


@needs_torch
@pytest.mark.parametrize("optimizer", optimizer_side.ARGUMENTS)
def test_an_optimizer_of_torch_takes_steps(optimizer):
    from benchmarks import torch_side

    with torch_side.optimize([[3, 2], [4]], optimizer) as work:
        work()


@needs_jax
def test_the_step_of_jax_is_that_of_dynamic_mode():
    from benchmarks import jax_side

    with dynamic("mlp") as (subject, model):
        values = list(arrays(model).values())
        work = dynamic_side.trained(model, subject)
        losses = [work() for _ in range(20)]
    theirs = jax_side.trained(list(zip(values[::2], values[1::2], strict=True)), subject)
    np.testing.assert_allclose([theirs() for _ in range(20)], losses, rtol=1e-5)
    with jax_side.step("mlp") as work:
        assert work() > work()


def test_stock_paddle_has_the_models_of_dynamic_mode():
    """By the shapes of the parameters, in the static program of the encoder."""
    with stock.program():
        stock.trained("encoder")
        shapes = [tuple(each.shape) for each in backend().parameters(paddle.static.default_main_program())]
    paddle.disable_static()
    try:
        model = Encoder(**SUBJECTS["encoder"].args)
        assert sorted(shapes) == sorted(tuple(each.shape) for each in model.parameters())
    finally:
        paddle.enable_static()
