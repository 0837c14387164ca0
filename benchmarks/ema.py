"""Measures an update of averages: ResNet-50's 267 tensors, 102 MB, in a program that does nothing else."""

from __future__ import annotations

import math

import paddle

from benchmarks.limit import MOVED, adding, beside_limit
from benchmarks.measure import Figure, Found, Options
from benchmarks.peer import NO_TORCH, compare, has_torch
from ppema.ir import backend

OURS, STOCK, TORCH = (f"benchmarks.{name}:update" for name in ("ours", "stock", "torch_side"))
FALLBACK = f"{OURS}_without_compiler"


def measure(options: Options) -> Found:
    """One average against numpy, stock Paddle and PyTorch; several averages against one."""
    shapes = tensors()
    limits = adding(shapes)
    sides = {
        "1": (OURS, shapes, 1),
        "2": (OURS, shapes, 2),
        "4": (OURS, shapes, 4),
        "fallback": (FALLBACK, shapes),
        **limits,
        "stock": (STOCK, shapes),
        **({"torch": (TORCH, shapes)} if has_torch() else {}),
    }
    seconds = dict(zip(sides, compare(options.rounds, *sides.values()), strict=True))
    one, name = seconds["1"], f"EMA update of {len(shapes)} tensors"
    numbers, adds = sum(math.prod(shape) for shape in shapes), {count: seconds[count] for count in limits}
    figures = [
        beside_limit(name, numbers, MOVED, one, adds, 1.1),
        beside_limit("the same, where there is no compiler", numbers, MOVED, seconds["fallback"], adds, 3.0),
    ]
    if "torch" in seconds:
        figures.append(Figure(name, "torch _foreach_lerp_", one, seconds["torch"]))
    figures.append(Figure(name, "stock Paddle, the official pattern", one, seconds["stock"]))
    figures += [Figure(f"{count} averages", "one average", seconds[count], one) for count in ("2", "4")]
    return Found(figures, [] if "torch" in seconds else [NO_TORCH])


def tensors() -> list[list[int]]:
    """The shapes of ResNet-50's parameters and BatchNorm statistics."""
    main = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, paddle.static.Program()):
        paddle.vision.models.resnet50()
    return [list(each.shape) for each in backend().parameters(main)]
