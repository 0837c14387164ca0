"""Checks of the updates of averages on a device, against float64 numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ppema.averaging.decay import FLOATS, Constant, Schedule, ThresSteps
from ppema.averaging.rule import Rule
from ppema.diagnosis.finding import Finding, bounded
from ppema.diagnosis.paddle_checks import loaded_place

STEPS = 50
_SHAPES: dict[str, list[int]] = {"scalar": [], "vector": [5], "tensor": [7, 31, 3]}
_SCHEDULES: dict[str, Schedule] = {"constant": Constant(0.999), "growing": ThresSteps(0.999)}
# Relative. A float32 has 24 bits, and each of the updates rounds once.
_BOUND = 1e-6


def by_native(device: str) -> Finding:
    """The update by the C++ operation."""
    place = loaded_place(device)
    from ppema.ir.native import why_missing
    from ppema.passes.fused import ema_native

    reason = why_missing()
    if reason is not None:
        return Finding("skipped", reason)
    return _compared(place, lambda target, averages: ema_native.append_update(target.ir, target.main, averages, None))


def by_paddle(device: str) -> Finding:
    """The update by Paddle's own operations."""
    place = loaded_place(device)
    from ppema.passes import ema_graph

    def append(target: Any, averages: list[Any]) -> None:
        for average in averages:
            ema_graph.append_update(target.ir, target.main, average, None)

    return _compared(place, append)


def _compared(place: Any, append: Callable[[Any, list[Any]], None]) -> Finding:
    """Average a random walk of weights. append: the operations that update averages of a train program."""
    import paddle

    from ppema.ir import scope
    from ppema.passes.ema import declare
    from ppema.passes.target import TrainProgram

    target = TrainProgram(paddle.static.Program(), paddle.static.Program())
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(target.main, target.startup):
        initial = paddle.nn.initializer.Constant(0.0)
        for name, shape in _SHAPES.items():
            paddle.static.create_parameter(shape, "float32", name=name, default_initializer=initial)
        averages = [declare(target, name, Rule(each), target.parameters) for name, each in _SCHEDULES.items()]
        with target.appending():
            append(target, averages)
    here, executor, seen = paddle.static.Scope(), paddle.static.Executor(place), []
    with paddle.static.scope_guard(here):
        executor.run(target.startup)
        for values in _walk():
            scope.put(here, values)
            executor.run(target.main)
            seen.append({name: value.astype("float64") for name, value in values.items()})
    relative = ulps = 0.0
    for average in averages:
        for name, shadow in average.shadow_of.items():
            wanted = _average(average.rule.schedule, [values[name] for values in seen])
            error = np.abs(scope.get(here, shadow) - wanted)
            relative = np.fmax(relative, (error / np.abs(wanted)).max())
            ulps = np.fmax(ulps, (error / np.spacing(np.abs(wanted).astype("float32"))).max())
    return bounded(float(relative), _BOUND, f"{STEPS} steps differ from float64 by {ulps:.1f} ulp of float32 ({relative:.1e})")


def _walk() -> Iterator[dict[str, np.ndarray]]:
    """The weights after each step. They stay away from zero, near which a relative error has no meaning."""
    rng = np.random.default_rng(0)
    values = {name: 10 + rng.normal(size=shape) for name, shape in _SHAPES.items()}
    for _ in range(STEPS):
        values = {name: value + 0.1 * rng.normal(size=value.shape) for name, value in values.items()}
        yield {name: np.asarray(value, "float32") for name, value in values.items()}


def _average(schedule: Schedule, values: list[np.ndarray]) -> np.ndarray:
    """Σ w_i θ_i / Σ w_i with w_i = (1 - d_i) Π_{j>i} d_j in float64, from the definition."""
    decays = [schedule(float(n), 1, FLOATS) for n in range(len(values))]
    weights = [(1 - decay) * np.prod(decays[i + 1 :]) for i, decay in enumerate(decays)]
    return np.tensordot(weights, np.stack(values), 1) / sum(weights)
