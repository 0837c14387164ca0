"""Stock Paddle's side in dynamic mode: the training step as its users write it, without any part of ppema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import paddle

from benchmarks.subjects import DECAY, MOMENTUM, RATE, SUBJECTS, Subject
from ppema.models import MODELS
from ppema.user_code.names import resolve


@contextmanager
def step(name: str) -> Iterator[Callable[[], float]]:
    """A step of training with an average on the batch of the subject `name`, which returns the loss as a number."""
    paddle.disable_static()
    paddle.seed(0)
    try:
        yield trained(built(name), SUBJECTS[name])
    finally:
        paddle.enable_static()


def built(name: str) -> paddle.nn.Layer:
    """The model of the subject `name` in train mode."""
    subject = SUBJECTS[name]
    model = resolve(subject.model, MODELS, "model")(**subject.args)
    model.train()
    return model


def trained(model: paddle.nn.Layer, subject: Subject) -> Callable[[], float]:
    """Forward, backward, Momentum, `lerp_` of each parameter and buffer, and the loss as a number."""
    optimizer = paddle.optimizer.Momentum(RATE, MOMENTUM, parameters=model.parameters())
    live = [*model.parameters(), *model.buffers()]
    shadows = [each.detach().clone() for each in live]
    inputs, labels = subject.arrays()

    def work() -> float:
        outputs = model(paddle.to_tensor(inputs))
        loss = paddle.nn.functional.cross_entropy(outputs, paddle.to_tensor(labels), axis=1)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        with paddle.no_grad():
            for shadow, each in zip(shadows, live, strict=True):
                shadow.lerp_(each, 1 - DECAY)
        return float(loss)

    return work
