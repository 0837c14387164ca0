"""PyTorch's side: the training step and the update of averages, written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch  # pyright: ignore[reportMissingImports]
from torch.optim.swa_utils import get_ema_multi_avg_fn  # pyright: ignore[reportMissingImports]

from benchmarks.subjects import DECAY, MOMENTUM, RATE, SUBJECTS
from benchmarks.torch_models import MODELS
from ppema.environment import threads_in_use


@contextmanager
def step(name: str) -> Iterator[Callable[[], object]]:
    """Forward, backward, SGD with momentum, `_foreach_lerp_` of all parameters and buffers, and the loss as a number."""
    torch.set_num_threads(threads_in_use())
    torch.manual_seed(0)
    subject = SUBJECTS[name]
    model = MODELS[subject.model](**subject.args).train()
    # `fused` is the fastest of three forms on a CPU, where it is not the default.
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, fused=True)
    loss_of, follow = torch.nn.CrossEntropyLoss(), get_ema_multi_avg_fn(DECAY)
    live = _floats(model)
    shadows = _floats(deepcopy(model))
    inputs, labels = subject.arrays()

    def work() -> float:
        optimizer.zero_grad()
        loss = loss_of(model(torch.from_numpy(inputs)), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        follow(shadows, live, 0)
        return loss.item()

    yield work


@contextmanager
def update(shapes: Sequence[Sequence[int]]) -> Iterator[Callable[[], object]]:
    """One `_foreach_lerp_` over float32 tensors of these shapes."""
    torch.set_num_threads(threads_in_use())
    live = [torch.full(tuple(shape), 0.5) for shape in shapes]
    shadows, follow = [torch.zeros_like(each) for each in live], get_ema_multi_avg_fn(DECAY)
    yield lambda: follow(shadows, live, 0)


def _floats(model: torch.nn.Module) -> list[torch.Tensor]:
    """Parameters and BatchNorm's statistics, without its counters of batches."""
    return [each.detach() for each in (*model.parameters(), *model.buffers()) if each.is_floating_point()]
