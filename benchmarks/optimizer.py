"""Measures an optimizer with averages, without forward and backward pass, against the memory limit and PyTorch's."""

from __future__ import annotations

import math

import paddle

from benchmarks.limit import adding, beside_limit
from benchmarks.measure import Figure, Found, Options
from benchmarks.peer import NO_TORCH, compare, has_torch
from ppema.ir import backend

OURS, TORCH = "benchmarks.optimizer_side:optimize", "benchmarks.torch_side:optimize"
MODELS = {"ResNet-18": "resnet18", "ResNet-50": "resnet50"}
# Bytes for each number: the gradient is read, and weight and accumulators are read and written, in float32.
BYTES = {"SGD": 12, "Momentum": 20, "Adam": 28, "AdamW": 28}
CHECK = 4  # the gradient is read before, to find whether it is finite
AVERAGE = 8  # a shadow is read and written
MANY = ("SGD", "Momentum")  # the optimizers that are measured with four averages, too
LIMIT_AIM, MANY_AIM, BETWEEN_AIM = 1.1, 2.2, 10e-6
NEVER = 10**9  # an interval longer than any benchmark


def measure(options: Options) -> Found:
    """Each optimizer with one average on two models' sizes; four averages; and a step between two updates."""
    figures = [figure for title in MODELS for figure in _of(title, options)]
    return Found([*figures, _between(options.rounds)], [] if has_torch() or options.only_aims else [NO_TORCH])


def _of(title: str, options: Options) -> list[Figure]:
    shapes, figures = tensors(MODELS[title]), []
    numbers = sum(math.prod(shape) for shape in shapes)
    for name, moved in BYTES.items():
        sides: list[tuple[object, ...]] = [(OURS, shapes, name, 1)]
        many, torch = name in MANY, has_torch() and not options.only_aims
        sides += [(OURS, shapes, name, 4)] * many + [(TORCH, shapes, name)] * torch
        limits = adding(shapes)
        ours, *others = compare(options.rounds, *sides, *limits.values())
        adds = dict(zip(limits, others[many + torch :], strict=True))
        what = f"{title}'s {numbers / 1e6:.1f} M weights: {name} and an average"
        figures.append(beside_limit(what, numbers, moved + CHECK + AVERAGE, ours, adds, LIMIT_AIM))
        if torch:
            figures.append(Figure(what, "torch's fused optimizer and _foreach_lerp_", ours, others[many]))
        if many:
            figures.append(Figure(f"{title}: {name} and 4 averages", "with one average", others[0], ours, aim=MANY_AIM))
    return figures


def _between(rounds: int) -> Figure:
    """A step between two updates costs some time for each tensor. With one number in each, that time can be measured."""
    small = [[1] for _ in tensors("resnet50")]
    ours, none = compare(rounds, (OURS, small, "Momentum", 1, NEVER), (OURS, small, "Momentum", 0))
    what = f"{len(small)} weights of one number: a step between two updates of an average"
    return Figure(what, "a step without an average", ours, none, "difference", BETWEEN_AIM)


def tensors(model: str) -> list[list[int]]:
    """The shapes of the trainable parameters of a model of paddle.vision.models."""
    main = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, paddle.static.Program()):
        getattr(paddle.vision.models, model)()
    return [list(each.shape) for each in backend().parameters(main) if each.trainable]
