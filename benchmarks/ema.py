"""Measures an update of averages: ResNet-50's 267 tensors, 102 MB, in a program that does nothing else."""

from __future__ import annotations

import statistics

import paddle

from benchmarks.measure import Figure, Found, Options
from benchmarks.peer import NO_TORCH, compare, has_torch
from ppema.environment import threads_in_use
from ppema.ir import backend

OURS, STOCK, TORCH = (f"benchmarks.{name}:update" for name in ("ours", "stock", "torch_side"))
FALLBACK = f"{OURS}_without_compiler"
NUMPY = "benchmarks.numpy_side:add"
NEVER = 10**9  # an interval longer than any benchmark


def measure(options: Options) -> Found:
    """One average against numpy, stock Paddle and PyTorch; several averages; and a step between two updates."""
    shapes, threads = tensors(), threads_in_use()
    sides = {
        "1": (OURS, shapes, 1, 1),
        "2": (OURS, shapes, 2, 1),
        "4": (OURS, shapes, 4, 1),
        "between": (OURS, shapes, 1, NEVER),
        "none": (OURS, [[1]], 0, 1),
        "fallback": (FALLBACK, shapes),
        "add": (NUMPY, shapes, 1),
        "adds": (NUMPY, shapes, threads),
        "stock": (STOCK, shapes),
        **({"torch": (TORCH, shapes)} if has_torch() else {}),
    }
    seconds = dict(zip(sides, compare(options.rounds, *sides.values()), strict=True))
    one, name = seconds["1"], f"EMA update of {len(shapes)} tensors"
    limit = min(seconds["add"], seconds["adds"], key=statistics.median)
    many = f"in {threads} threads" if limit is seconds["adds"] else "in one thread"
    beside = f"the memory limit: numpy's a += b {many}"
    figures = [
        Figure(name, beside, "at most 1.3", one, limit),
        Figure("the same, where there is no compiler", beside, "at most 3", seconds["fallback"], limit),
    ]
    if "torch" in seconds:
        figures.append(Figure(name, "torch _foreach_lerp_", "at most 1.4", one, seconds["torch"]))
    figures.append(Figure(name, "stock Paddle, the official pattern", "-", one, seconds["stock"]))
    figures += [Figure(f"{count} averages", "one average", "-", seconds[count], one) for count in ("2", "4")]
    between = "a step between two updates (update_every)"
    figures.append(Figure(between, "a program that only counts", "nothing", seconds["between"], seconds["none"], "difference"))
    return Found(figures, [] if "torch" in seconds else [NO_TORCH])


def tensors() -> list[list[int]]:
    """The shapes of ResNet-50's parameters and BatchNorm statistics."""
    main = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, paddle.static.Program()):
        paddle.vision.models.resnet50()
    return [list(each.shape) for each in backend().parameters(main)]
