"""Stock Paddle's side: static programs written by hand, without any pass of ppema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import paddle

from benchmarks.subjects import DECAY, MOMENTUM, RATE, SUBJECTS
from ppema.ir import Variable
from ppema.models import MODELS
from ppema.user_code.names import resolve


@contextmanager
def step(name: str, official: bool) -> Iterator[Callable[[], object]]:
    """Forward, backward and Momentum by one `exe.run` that fetches the loss. official: add the official EMA's operations."""
    subject = SUBJECTS[name]
    with program() as exe:
        loss = trained(name)
        if official:
            block = paddle.static.default_main_program().global_block()
            _official([each for each in block.all_parameters() if str(each.dtype).lower().endswith(("float32", "fp32"))])
        exe.run(paddle.static.default_startup_program())
        inputs, labels = subject.arrays()
        yield lambda: float(np.asarray(exe.run(feed={"input": inputs, "target": labels}, fetch_list=[loss])[0]).reshape(()))


@contextmanager
def update(shapes: Sequence[Sequence[int]]) -> Iterator[Callable[[], object]]:
    """One update of averages of float32 parameters of these shapes by the official EMA's operations."""
    with program() as exe:
        _official(weights(shapes))
        exe.run(paddle.static.default_startup_program())
        yield exe.run


def trained(name: str) -> Variable:
    """Build the subject `name` and its training by Momentum in the default main program. Returns the loss, 0-D float32."""
    subject = SUBJECTS[name]
    inputs = paddle.static.data("input", [-1, *subject.shape], "float32")
    target = paddle.static.data("target", [-1, *(subject.shape[1:] if subject.dense else ())], "int64")
    model = resolve(subject.model, MODELS, "model")(**subject.args)
    loss = paddle.nn.functional.cross_entropy(model(inputs), target, axis=1)
    paddle.optimizer.Momentum(RATE, MOMENTUM).minimize(loss)
    return loss


def weights(shapes: Sequence[Sequence[int]]) -> list[Variable]:
    """Create float32 parameters w0, w1, ... of these shapes in the default main program. Their initial value is 0.5."""
    half = paddle.nn.initializer.Constant(0.5)
    return [
        paddle.create_parameter(list(shape), "float32", f"w{index}", default_initializer=half)
        for index, shape in enumerate(shapes)
    ]


def _official(parameters: Sequence[Variable]) -> None:
    """Append what `paddle.static.ExponentialMovingAverage.update` does: two products, a sum and an assignment a parameter."""
    zero = paddle.nn.initializer.Constant(0.0)
    for parameter in parameters:
        shadow = paddle.create_parameter(
            list(parameter.shape), "float32", f"{parameter.name}/official", default_initializer=zero
        )
        shadow.stop_gradient = True
        paddle.assign(shadow * DECAY + parameter * (1 - DECAY), output=shadow)


@contextmanager
def program() -> Iterator[paddle.static.Executor]:
    """New programs, names and scope as the current ones; yields an Executor on the CPU."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    paddle.seed(0)
    with (
        paddle.utils.unique_name.guard(),
        paddle.static.program_guard(main, startup),
        paddle.static.scope_guard(paddle.static.Scope()),
    ):
        yield paddle.static.Executor(paddle.CPUPlace())
