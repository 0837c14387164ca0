"""PyTorch's side: the training step, eager and compiled, the update of averages, and optimizers with an average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Literal

import torch  # pyright: ignore[reportMissingImports]

from benchmarks.subjects import DECAY, MOMENTUM, RATE, SUBJECTS, Subject
from benchmarks.torch_models import MODELS
from ppema.environment import threads_in_use

# eager: nothing is compiled; compiled: the model with its loss, and so its backward pass; whole: the average's update as well.
Form = Literal["eager", "compiled", "whole"]


@contextmanager
def step(name: str, form: Form = "eager") -> Iterator[Callable[[], float]]:
    """A step of training with an average on the batch of the subject `name`, which returns the loss as a number."""
    torch.set_num_threads(threads_in_use())
    torch.manual_seed(0)
    yield trained(built(name), SUBJECTS[name], form)


def built(name: str) -> torch.nn.Module:
    """The model of the subject `name` in train mode."""
    subject = SUBJECTS[name]
    return MODELS[subject.model](**subject.args).train()


def trained(model: torch.nn.Module, subject: Subject, form: Form = "eager") -> Callable[[], float]:
    """Forward, backward, SGD with momentum, `_foreach_lerp_` of all parameters and buffers, and the loss as a number."""
    # `fused` is the fastest of three forms on a CPU, where it is not the default. Inductor does not compile it.
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, fused=True)
    loss_of, live = torch.nn.CrossEntropyLoss(), _floats(model)
    shadows = _floats(deepcopy(model))
    inputs, labels = subject.arrays()

    def forward(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return loss_of(model(inputs), labels)

    def follow() -> None:
        torch._foreach_lerp_(shadows, live, 1 - DECAY)

    loss_on = forward if form == "eager" else torch.compile(forward)
    update = torch.compile(follow) if form == "whole" else follow

    def work() -> float:
        optimizer.zero_grad()
        loss = loss_on(torch.from_numpy(inputs), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        update()
        return loss.item()

    return work


@contextmanager
def update(shapes: Sequence[Sequence[int]]) -> Iterator[Callable[[], object]]:
    """One `_foreach_lerp_` over float32 tensors of these shapes."""
    torch.set_num_threads(threads_in_use())
    live = [torch.full(tuple(shape), 0.5) for shape in shapes]
    shadows = [torch.zeros_like(each) for each in live]
    yield lambda: torch._foreach_lerp_(shadows, live, 1 - DECAY)


@contextmanager
def optimize(shapes: Sequence[Sequence[int]], optimizer: str) -> Iterator[Callable[[], object]]:
    """One step of a fused optimizer by given gradients, and `_foreach_lerp_` of the weights."""
    torch.set_num_threads(threads_in_use())
    weights = [torch.full(tuple(shape), 0.5, requires_grad=True) for shape in shapes]
    for each in weights:
        each.grad = torch.full_like(each, 1e-3)
    makers = {"SGD": {}, "Momentum": {"momentum": MOMENTUM}, "Adam": {}, "AdamW": {}}
    kind = torch.optim.SGD if optimizer == "Momentum" else getattr(torch.optim, optimizer)
    made = kind(weights, lr=RATE, fused=True, **makers[optimizer])
    live, shadows = [each.detach() for each in weights], [torch.zeros_like(each) for each in weights]

    def work() -> None:
        made.step()
        torch._foreach_lerp_(shadows, live, 1 - DECAY)

    yield work


def _floats(model: torch.nn.Module) -> list[torch.Tensor]:
    """Parameters and BatchNorm's statistics, without its counters of batches."""
    return [each.detach() for each in (*model.parameters(), *model.buffers()) if each.is_floating_point()]
